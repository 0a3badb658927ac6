"""A running engine: one model, its process, its queue and its counters."""

import asyncio
import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from hyperllama_nb.engines.base import Backend, LaunchSpec, Phase
from hyperllama_nb.engines.embeddings import Vector, embed
from hyperllama_nb.engines.events import Event
from hyperllama_nb.engines.memory import GIB, Need
from hyperllama_nb.engines.openai import Wire
from hyperllama_nb.engines.process import EngineProcess
from hyperllama_nb.engines.sleep import AFTER
from hyperllama_nb.errors import EngineDiedError, EngineError, EngineStartError, HyperLlamaError
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.runtime import engine_log
from hyperllama_nb.service.admission import Admission
from hyperllama_nb.service.metrics import Metrics
from hyperllama_nb.service.prompt import Prompter

log = logging.getLogger(__name__)

State = Literal["loading", "ready", "stopping", "failed"]
Line = dict[str, Any]
Report = Callable[[Line], Awaitable[None]]
"""Takes a progress line of the private protocol (`{"status": "loading", …}`)."""

PROGRESS_INTERVAL = 1.0
"""Seconds between two progress lines while nothing changes: no cell is silent for longer."""

DEATH_NOTICE = 3.0
"""Seconds to wait for the exit code once an engine has dropped a connection."""

TAIL = 200
"""Lines of the log in which a backend looks for the cause of an end: a traceback is long."""


class RunningEngine:
    """One engine process and all that the service knows of it.

    The manager makes it, runs `load` in a task of its own (so that a caller who leaves does not
    abort the load), and stops it.
    """

    def __init__(
        self,
        manifest: Manifest,
        backend: Backend,
        spec: LaunchSpec,
        slots: int,
        metrics: Metrics | None = None,
        sleep_after: float = AFTER,
    ) -> None:
        self.metrics = metrics or Metrics()
        self.tally = self.metrics.tallies[manifest.name.display]
        self.manifest = manifest
        self.backend = backend
        self.spec = spec
        self.admission = Admission(slots, spec.max_queue)
        self.prompter = Prompter(spec.directory, manifest)
        self.process = EngineProcess(spec.socket, spec.workdir, engine_log(manifest.name.display))
        self.wire: Wire | None = None
        self.state: State = "loading"
        self.phase = "start"
        self.message = f"starting {backend.name}"
        self.error: HyperLlamaError | None = None
        self.started = time.monotonic()
        self.loaded: asyncio.Task[None] | None = None
        self.ending: asyncio.Task[None] | None = None
        self.users = 0
        self.leases: set[str] = set()
        self.keep_alive = 0.0
        self.idle_since = time.monotonic()
        self.requests = 0
        self.prompt_tokens = 0
        self.output_tokens = 0
        self.restarts = 0
        self.died_at: float | None = None
        self._sleep_after = sleep_after
        self._planned = spec.batch
        self.need: Need | None = None
        """The memory that it was expected to take; known once its load has begun."""
        self._launched = False
        self._changed = asyncio.Event()

    @property
    def model(self) -> str:
        """Return the model's display name."""
        return self.manifest.name.display

    @property
    def alive(self) -> bool:
        """Tell whether requests can be given to it, now or once it has loaded."""
        return self.state in ("loading", "ready")

    @property
    def idle(self) -> bool:
        """Tell whether nothing needs it at this moment."""
        return self.users == 0 and self.state == "ready"

    @property
    def asleep(self) -> bool:
        """Tell whether its processes are stopped until the next request."""
        return self.state == "ready" and self.process.sleep.asleep

    @property
    def waiting(self) -> int:
        """Return how many requests wait: for the load, or for a slot."""
        return self.users if self.state == "loading" else self.admission.queued

    @property
    def resident(self) -> bool:
        """Tell whether it takes memory: its process exists, or is about to."""
        return self._launched and self.state != "failed"

    @property
    def pinned(self) -> bool:
        """Tell whether it stays, however long nobody uses it."""
        return self.keep_alive == math.inf

    @property
    def expires_in(self) -> float | None:
        """Return the seconds until it may be unloaded; None while it is used, leased or pinned."""
        if self.users or self.leases or self.pinned:
            return None
        return self.idle_since + self.keep_alive - time.monotonic()

    async def load(self, deadline: float) -> None:
        """Launch the process and wait until it answers a request, for at most `deadline` seconds.

        Raises EngineStartError with the last log lines if it ends or does not answer in time.
        """
        self._launched = True
        try:
            self.need = self.backend.memory(self.spec)
            self._set("loading", "start", self._plan(self.need))
            launch = self.backend.command(self.spec)
            await self.process.start(launch, self.backend, self._on_phase)
            # Meanwhile, so that the first request does not pay for it.
            await asyncio.to_thread(self.prompter.load)
            limit = deadline if 0 < deadline < math.inf else None
            self.wire = await self.process.wait_ready(self.model, limit, self.spec.task)
            taken = await asyncio.to_thread(self.process.memory)
        except asyncio.CancelledError:
            await self.stop()
            raise
        except (HyperLlamaError, OSError) as error:
            if not isinstance(error, HyperLlamaError):
                error = EngineStartError(
                    f"The engine for {self.model} could not be launched: {error}. "
                    "Run `hyperllama status` to see where it looks for its program."
                )
            await self.process.stop()
            raise error from None
        self.idle_since = time.monotonic()
        if "sleeps" in self.backend.capabilities(self.spec) and self._sleep_after < math.inf:
            self.process.sleep.allow(self._sleep_after)
        self._set(
            "ready", "ready", f"ready after {self.elapsed:.1f} s, takes {taken / GIB:.1f} GiB"
        )
        log.info("%s is ready after %.1f s", self.model, self.elapsed)
        self._observe_load("ready")

    def fail(self, error: HyperLlamaError) -> None:
        """Note why it does not run."""
        self.error = error
        self._set("failed", "failed", str(error))
        log.warning("load of %s failed: %s", self.model, error)
        self._observe_load("failed")

    def _observe_load(self, outcome: str) -> None:
        self.metrics.loads.labels(self.metrics.model(self.model), outcome).observe(self.elapsed)

    def _plan(self, need: Need) -> str:
        """Return what is about to be started, for people."""
        words = f"starting {self.backend.name}, which needs {need.words()}"
        if self.spec.batch != self._planned:
            words += (
                f"; {self.spec.batch} requests at a time in place of {self._planned}, since there "
                "is no memory for more"
            )
        return words

    def resize(self, batch: int | None) -> None:
        """Launch with another batch size than was planned; only before `load`."""
        self.spec = dataclasses.replace(self.spec, batch=batch)
        if batch is not None:
            self.admission.slots = batch

    def wait(self, message: str) -> None:
        """Say what the load waits for; only before `load`."""
        if message != self.message:
            self._set("loading", "wait", message)

    def leave(self) -> None:
        """Take no more requests: it is about to be stopped."""
        if self.state != "failed":
            self._set("stopping", "stopping", "stopping")

    @property
    def elapsed(self) -> float:
        """Return the seconds since the launch."""
        return time.monotonic() - self.started

    def _on_phase(self, phase: Phase) -> None:
        if self.state == "loading":
            self._set("loading", phase.name, phase.message)

    def _set(self, state: State, phase: str, message: str) -> None:
        self.state, self.phase, self.message = state, phase, message
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_loaded(self, report: Report | None = None) -> None:
        """Wait for the load to end, reporting its phase at each change and once a second.

        Raises what the load raised. Cancelling the wait leaves the load running.
        """
        assert self.loaded is not None, "the manager starts the load before it hands the engine out"
        while not self.loaded.done():
            if report is not None:
                await report(self.progress())
            changed = asyncio.ensure_future(self._changed.wait())
            try:
                await asyncio.wait(
                    {self.loaded, changed},
                    timeout=PROGRESS_INTERVAL,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                changed.cancel()
        if self.loaded.cancelled():
            raise EngineStartError(
                f"The load of {self.model} was stopped before it was ready. Run the request again."
            )
        self.loaded.result()

    def progress(self) -> Line:
        """Return the present phase as a progress line."""
        return {
            "status": "loading",
            "model": self.model,
            "phase": self.phase,
            "message": self.message,
            "elapsed": round(self.elapsed, 3),
        }

    async def complete(
        self, ids: Sequence[int], params: dict[str, Any]
    ) -> AsyncGenerator[Event, None]:
        """Stream the completion of the token ids `ids`.

        Raises EngineDiedError with the engine's last words if it ends meanwhile. Closing the
        iterator closes the connection to the engine, which frees its slot.
        """
        if self.wire is None or self.state != "ready":
            raise EngineDiedError(f"The engine for {self.model} is not running. Run it again.")
        self.requests += 1
        self.prompt_tokens += len(ids)
        dialect = self.backend.params(self.spec, params)
        stream = self.wire.stream(ids, {"model": self.model, **dialect})
        seen = cached = 0
        begun = False
        try:
            async with contextlib.aclosing(stream):
                async for event in stream:
                    if not begun:
                        begun = True
                        self.tally.prompt_tokens += len(ids)
                    if event.text:
                        seen += 1
                        self.output_tokens += 1
                        self.tally.output_tokens += 1
                    if event.output_tokens is not None:
                        # Chunks were counted as they came; the engine's own count settles it.
                        self.output_tokens += event.output_tokens - seen
                        self.tally.output_tokens += event.output_tokens - seen
                        seen, cached = event.output_tokens, event.cached_tokens or 0
                    yield event
        except EngineError as error:
            raise await self._obituary(error) from error
        finally:
            self.metrics.used(self.model, prompt=len(ids), cached=cached, output=seen)

    async def embed(self, texts: Sequence[Sequence[int]]) -> list[Vector]:
        """Return a vector for each text, a list of token ids, in one step of the engine's queue.

        Raises what `engines.embeddings.embed` raises, and EngineDiedError as `complete` does.
        """
        if self.wire is None or self.state != "ready":
            raise EngineDiedError(f"The engine for {self.model} is not running. Run it again.")
        tokens = sum(map(len, texts))
        self.prompt_tokens += tokens
        self.metrics.used(self.model, prompt=tokens, cached=0, output=0)
        try:
            vectors = await embed(self.wire, self.model, texts)
        except EngineError as error:
            raise await self._obituary(error) from error
        self.tally.prompt_tokens += tokens
        return vectors

    async def _obituary(self, error: EngineError) -> EngineError:
        """Return what to tell of a broken stream: the engine's end, where it ended."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), DEATH_NOTICE)
        if self.process.returncode is None:
            return error
        return EngineDiedError(
            f"The engine for {self.model} ended while it was answering: "
            f"{self.backend.explain(self.process.log_tail(TAIL), self.process.returncode)} "
            f"Run it again: the engine is started anew. `hyperllama logs {self.model}` has its log."
        )

    async def watch(self) -> None:
        """Wait for the process to end on its own and note it as failed."""
        await self.process.wait()
        if self.state == "ready":
            self.died_at = time.monotonic()
            self.error = EngineDiedError(
                f"The engine for {self.model} ended: "
                f"{self.backend.explain(self.process.log_tail(TAIL), self.process.returncode)}"
            )
            self._set("failed", "failed", str(self.error))
            log.warning("%s", self.error)

    async def stop(self) -> None:
        """End the process and all that it started; returns when none of it is left."""
        self.leave()
        await self.process.stop()

    def status(self) -> Line:
        """Return the engine's line of `/admin/status`."""
        expires, traits = self.expires_in, self.backend.traits(self.spec)
        return {
            "model": self.model,
            "digest": self.manifest.digest,
            "state": self.state,
            "asleep": self.asleep,
            "phase": self.phase,
            "message": "asleep until the next request" if self.asleep else self.message,
            "elapsed": round(self.elapsed, 3),
            "backend": self.backend.name,
            "launch": self.backend.launch(self.spec),
            "device": self.spec.placement.device,
            "pid": self.process.pid,
            "context_length": self.spec.context,
            "batch_size": self.admission.slots,
            "cache_type": traits.cache_type,
            "threads": traits.threads,
            "encoding": traits.encoding,
            "ignore_eos": "ignore_eos" in self.backend.capabilities(self.spec),
            "memory": self.process.memory(),
            "memory_needed": None if self.need is None else self.need.plain(),
            "running": self.admission.running,
            "queued": self.admission.queued,
            "requests": self.requests,
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.output_tokens,
            "restarts": self.restarts,
            "tcp": self.process.tcp,
            "log": str(self.process.log),
            "socket": str(self.spec.socket),
            "error": str(self.error) if self.error else None,
            "expires_at": None if expires is None else _after(expires).isoformat(),
            "pinned": self.pinned,
            "leases": len(self.leases),
        }


def _after(seconds: float) -> datetime:
    return datetime.now(UTC).astimezone() + timedelta(seconds=max(0.0, seconds))
