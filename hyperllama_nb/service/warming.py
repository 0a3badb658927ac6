"""Compiling models ahead of their first start, as a part of their pull."""

import asyncio
import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from hyperllama_nb.engines.base import Backend, LaunchSpec, Phase, Warmup
from hyperllama_nb.engines.compiling import Compilation
from hyperllama_nb.errors import HyperLlamaError
from hyperllama_nb.hardware import detect
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.store import Store
from hyperllama_nb.runtime import engine_log
from hyperllama_nb.service.changes import Changes
from hyperllama_nb.service.config import HyperLlamaService
from hyperllama_nb.service.launching import choose
from hyperllama_nb.service.running import RunningEngine

log = logging.getLogger(__name__)

Line = dict[str, Any]

STATUS = "compiling for this machine"

INTERVAL = 5.0
"""Seconds between two lines while nothing changes; clients print each line of a pull."""

STAMPS = "compiled"
"""The directory, within the one that keeps compiled code, of the keys of what is in there."""


class Warming:
    """The compilations of one service: one at a time, and never at the cost of a load."""

    def __init__(
        self,
        store: Store,
        backends: Mapping[str, Backend],
        settings: HyperLlamaService,
        engines: Mapping[str, RunningEngine],
        changes: Changes,
    ) -> None:
        self._store, self._backends, self._settings = store, backends, settings
        self._engines, self._changes = engines, changes
        self._turn = asyncio.Lock()
        self._running: dict[str, _Compile] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def warm(self, manifest: Manifest) -> AsyncGenerator[Line, None]:
        """Compile the model for the context that it would be launched with, and tell of it.

        Yields nothing where there is nothing to do. A failure is a line, not an error: the first
        start compiles what is missing. All who ask for the same share one compilation, which is
        cancelled when the last of them leaves.
        """
        try:
            backend, spec = await choose(
                self._backends, None, manifest, self._store, self._settings, None
            )
            spec = dataclasses.replace(spec, batch=1)
            warmup = await asyncio.to_thread(backend.warm, spec)
            if warmup is None or await asyncio.to_thread(_is_done, warmup):
                return
            backend.check(spec, await asyncio.to_thread(detect))
        except HyperLlamaError as error:
            yield {"status": f"not compiled: {_first(error)}"}
            return
        except Exception as error:  # a backend may be a stranger's, and the pull has succeeded
            log.exception("planning to compile %s", manifest.name.display)
            yield {"status": f"not compiled: {error!r}"}
            return
        compiling = self._running.get(warmup.key)
        # One that is cancelled still ends; the next one waits for it.
        if compiling is None or compiling.task.done() or compiling.task.cancelling():
            compiling = self._running[warmup.key] = _Compile(manifest.name.display)
            work = self._compile(compiling, backend, spec, warmup)
            task = asyncio.create_task(work, name=f"compile {manifest.name}")
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            task.add_done_callback(self._tasks.discard)
            self._tasks.add(task)
            compiling.task = task
        async with contextlib.aclosing(compiling.read()) as lines:
            async for line in lines:
                yield line

    async def _compile(
        self, compiling: "_Compile", backend: Backend, spec: LaunchSpec, warmup: Warmup
    ) -> None:
        """Wait for the turn, compile, and note that it is done."""
        async with self._turn:
            while any(e.resident and e.state == "loading" for e in self._engines.values()):
                compiling.tell("waiting until the model that loads is ready")
                await self._changes.wait()
            # From here on a load of this model waits for it, so that none of both work twice.
            compiling.started = True
            if await asyncio.to_thread(_is_done, warmup):
                return
            compiling.tell("starting")
            log.info("compiling %s", compiling.model)
            limit = self._settings.load_timeout
            name = engine_log(f"{compiling.model}.compile")
            process = Compilation(spec.socket, spec.workdir, name)
            await process.run(
                warmup.launch,
                backend,
                compiling.hear,
                limit if 0 < limit < math.inf else None,
            )
            await asyncio.to_thread(_note, warmup)
            log.info("compiled %s in %.1f s", compiling.model, compiling.elapsed)

    async def let_finish(self, engine: RunningEngine) -> None:
        """Wait until nobody compiles what an engine that is to be launched would compile."""
        warmup = await self._of(engine)
        compiling = self._running.get(warmup.key) if warmup is not None else None
        if compiling is not None and compiling.started and not compiling.task.done():
            engine.wait(f"{STATUS}, which its pull has begun")
            await asyncio.wait({compiling.task})

    async def note(self, engine: RunningEngine) -> None:
        """Take note that an engine is ready: what it needs is compiled."""
        warmup = await self._of(engine)
        if warmup is not None:
            await asyncio.to_thread(_note, warmup)

    async def _of(self, engine: RunningEngine) -> Warmup | None:
        try:
            return await asyncio.to_thread(engine.backend.warm, engine.spec)
        except HyperLlamaError:
            return None  # the load tells it

    async def close(self) -> None:
        """Cancel what runs; returns when no process of it is left."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Compile:
    """One compilation and those who wait for it."""

    task: asyncio.Task[None]

    def __init__(self, model: str) -> None:
        self.model = model
        self.started = False
        self._begun = time.monotonic()
        self._message = ""
        self._readers = 0
        self._changed = asyncio.Event()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._begun

    def hear(self, phase: Phase) -> None:
        self.tell(phase.message)

    def tell(self, message: str) -> None:
        if message != self._message:
            self._message = message
            self._changed.set()
            self._changed = asyncio.Event()

    async def read(self) -> AsyncGenerator[Line, None]:
        self._readers += 1
        try:
            while not self.task.done():
                line: Line = {"status": STATUS, "elapsed": round(self.elapsed, 3)}
                yield line | ({"message": self._message} if self._message else {})
                changed = asyncio.ensure_future(self._changed.wait())
                try:
                    await asyncio.wait(
                        {self.task, changed},
                        timeout=INTERVAL,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                finally:
                    changed.cancel()
            if self.task.cancelled():
                yield _not_done("the service stops")
            elif (error := self.task.exception()) is not None:
                log.warning("compiling %s failed: %s", self.model, error)
                yield _not_done(error)
        finally:
            self._readers -= 1
            if self._readers == 0:
                self.task.cancel()


def _not_done(reason: object) -> Line:
    """Return the line about a compilation that was begun."""
    return {"status": f"not compiled, so the first start does it: {_first(reason)}"}


def _first(reason: object) -> str:
    """Return the first line: the last words of a log are in the log."""
    return (str(reason).splitlines() or [""])[0].rstrip(" :")


def _is_done(warmup: Warmup) -> bool:
    return (warmup.place / STAMPS / warmup.key).exists()


def _note(warmup: Warmup) -> None:
    """Leave the key beside the compiled code, where there is any: it goes when the code goes."""
    with contextlib.suppress(OSError):
        if warmup.place.is_dir():
            (warmup.place / STAMPS).mkdir(exist_ok=True)
            (warmup.place / STAMPS / warmup.key).touch()
