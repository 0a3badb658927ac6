"""Which engines run: loading, sharing, keeping alive, evicting and restarting them."""

import asyncio
import contextlib
import dataclasses
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hyperllama_nb.engines.base import Backend, LaunchSpec, context_rung
from hyperllama_nb.errors import (
    EngineDiedError,
    EngineStartError,
    HyperLlamaError,
    NotEnoughMemoryError,
    RequestError,
    ServiceError,
)
from hyperllama_nb.hardware import Hardware, detect
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.store import Store
from hyperllama_nb.runtime import cache_dir, engines_dir
from hyperllama_nb.service.config import HyperLlamaService
from hyperllama_nb.service.leases import Lease
from hyperllama_nb.service.running import Report, RunningEngine

log = logging.getLogger(__name__)

RESTARTS = 3
RESTART_WINDOW = 300.0
"""A model whose engines die more often than this within so many seconds is not started again."""


UNKNOWN_BATCH = 64
"""Requests let through at once where the engine sizes its batch itself; it queues what is more."""


class Manager:
    """The engines of one service. All methods belong to the service's event loop."""

    def __init__(
        self, store: Store, backends: dict[str, Backend], settings: HyperLlamaService
    ) -> None:
        self.store = store
        self.backends = backends
        self.settings = settings
        self.engines: dict[str, RunningEngine] = {}
        self.leases: dict[str, Lease] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._loads = asyncio.Lock()
        self._changed = asyncio.Event()
        self._deaths: dict[str, deque[float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reaper: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to unload what has expired."""
        self._reaper = asyncio.create_task(self._reap())

    async def close(self) -> None:
        """Stop every engine; returns when no process of theirs is left."""
        self._closed = True
        tasks = [*self._tasks, *([self._reaper] if self._reaper else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(
            *(engine.stop() for engine in self.engines.values()), return_exceptions=True
        )
        self.engines.clear()

    @property
    def busy(self) -> bool:
        """Tell whether a request uses an engine."""
        return any(engine.users for engine in self.engines.values())

    async def quiet(self) -> None:
        """Wait until no request uses an engine."""
        while self.busy:
            await self._changed.wait()

    def notify(self) -> None:
        """Wake those who wait for an engine to become idle, and the expiry."""
        self._changed.set()
        self._changed = asyncio.Event()

    # -- using ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def use(
        self,
        manifest: Manifest,
        *,
        context: int | None = None,
        backend: str | None = None,
        keep_alive: float | None = None,
        lease: str | None = None,
        report: Report | None = None,
    ) -> AsyncIterator[RunningEngine]:
        """Give a loaded engine for the model for the duration of the block, loading it if needed.

        `context` is the number of tokens asked for (None: whatever is loaded). `keep_alive`
        (seconds) stays with the engine; 0 also ends the caller's lease. `report` gets the load's
        progress.
        """
        engine = await self._claim(manifest, context, backend)
        holder = self.leases.get(lease or "")
        if holder is not None and keep_alive != 0:
            engine.leases.add(holder.id)
            holder.models.add(engine.model)
        if keep_alive is not None:
            engine.keep_alive = keep_alive
        try:
            await engine.wait_loaded(report)
            yield engine
        finally:
            engine.users -= 1
            engine.idle_since = time.monotonic()
            if holder is not None and keep_alive == 0:
                engine.leases.discard(holder.id)
                holder.models.discard(engine.model)
            self.notify()

    async def _claim(
        self, manifest: Manifest, context: int | None, backend: str | None
    ) -> RunningEngine:
        """Return an engine that is loading or ready, with one user more."""
        key = manifest.name.key
        async with self._locks.setdefault(key, asyncio.Lock()):
            engine = self.engines.get(key)
            if engine is not None and engine.alive and self._outgrown(engine, manifest, context):
                await self._drained(engine)
                await self._remove(engine)
                engine = None
            if engine is None or not engine.alive:
                if engine is not None:
                    await self._bury(key, engine)
                engine = await self._launch(key, manifest, context, backend)
            engine.users += 1
            return engine

    @staticmethod
    def _outgrown(engine: RunningEngine, manifest: Manifest, context: int | None) -> bool:
        """Tell whether the engine serves other bytes, or a smaller context, than is asked for."""
        limit = min(context or 0, manifest.context_length)
        return engine.manifest.digest != manifest.digest or limit > engine.spec.context

    async def _bury(self, key: str, engine: RunningEngine) -> None:
        """Clear away a dead engine; raises EngineDiedError if the model keeps dying."""
        await self._remove(engine)
        if engine.died_at is None:
            return
        deaths = self._deaths.setdefault(key, deque())
        deaths.append(engine.died_at)
        while deaths and deaths[0] < time.monotonic() - RESTART_WINDOW:
            deaths.popleft()
        if len(deaths) > RESTARTS:
            wait = RESTART_WINDOW - (time.monotonic() - deaths[0])
            raise EngineDiedError(
                f"The engine for {engine.model} ended {len(deaths)} times in "
                f"{RESTART_WINDOW / 60:.0f} minutes, so it is not started for the next "
                f"{wait:.0f} s. {engine.error} `hyperllama logs {engine.model}` has its log."
            )

    async def _launch(
        self, key: str, manifest: Manifest, context: int | None, backend: str | None
    ) -> RunningEngine:
        """Create the engine and begin its load in a task that no caller can abort."""
        if self._closed:
            raise ServiceError("The service is stopping. The next call starts a new one.")
        name = backend or next(iter(self.backends), "")
        if name not in self.backends:
            known = ", ".join(sorted(self.backends)) or "none"
            raise RequestError(f"There is no backend {name!r}. Installed backends: {known}.")
        chosen = self.backends[name]
        wanted = context or self.settings.context_length
        home = engines_dir() / secrets.token_hex(4)
        spec = LaunchSpec(
            manifest=manifest,
            directory=self.store.view(manifest),
            placement=chosen.place(manifest, await asyncio.to_thread(detect)),
            context=context_rung(wanted, manifest.context_length),
            batch=self.settings.num_parallel or None,
            max_queue=self.settings.max_queue,
            socket=Path(home, "s"),
            workdir=home,
            cache=cache_dir(),
        )
        spec = dataclasses.replace(spec, batch=spec.batch or chosen.batch(spec))
        engine = RunningEngine(manifest, chosen, spec, slots=spec.batch or UNKNOWN_BATCH)
        engine.keep_alive = self.settings.keep_alive
        engine.restarts = len(self._deaths.get(key, ()))
        self.engines[key] = engine
        engine.loaded = asyncio.create_task(self._load(engine), name=f"load {manifest.name}")
        # A load that fails after its last caller left is told in the log, not as a lost exception.
        engine.loaded.add_done_callback(lambda task: task.cancelled() or task.exception())
        return engine

    async def _load(self, engine: RunningEngine) -> None:
        """Load one model at a time: only then is it known what memory the others have left."""
        try:
            async with self._loads:
                await self._make_room(engine)
                await engine.load(self.settings.load_timeout)
        except HyperLlamaError as error:
            engine.fail(error)
            raise
        except Exception as error:
            # A backend may be a stranger's: whatever it raises must end the load.
            log.exception("loading %s", engine.model)
            failure = EngineStartError(
                f"The backend {engine.backend.name} failed while loading {engine.model}: "
                f"{error!r}. `hyperllama logs` has the details."
            )
            engine.fail(failure)
            raise failure from error
        finally:
            self.notify()
        watch = asyncio.create_task(self._watch(engine))
        self._tasks.add(watch)
        watch.add_done_callback(self._tasks.discard)

    async def _watch(self, engine: RunningEngine) -> None:
        await engine.watch()
        self.notify()

    # -- memory --------------------------------------------------------------------------------

    async def _make_room(self, engine: RunningEngine) -> None:
        """Shrink the batch, then unload the idle, until the engine fits; wait for those in use."""
        limit = self.settings.max_loaded_models
        while True:
            others = [e for e in self.engines.values() if e is not engine and e.alive]
            try:
                if limit and len(others) >= limit:
                    raise NotEnoughMemoryError(
                        f"{limit} models are loaded and in use, which is all that "
                        f"OLLAMA_MAX_LOADED_MODELS allows, so {engine.model} has to wait."
                    )
                await self._fit_batch(engine)
            except NotEnoughMemoryError:
                idle = [e for e in others if e.idle]
                if idle:
                    victim = min(idle, key=lambda e: (bool(e.leases), e.idle_since))
                    log.info("unloading %s to make room for %s", victim.model, engine.model)
                    await self._remove(victim)
                elif any(e.users for e in others):
                    await self._changed.wait()
                else:
                    raise
            else:
                return

    async def _fit_batch(self, engine: RunningEngine) -> None:
        """Halve the batch until weights and KV cache fit, or raise NotEnoughMemoryError."""
        hardware: Hardware = await asyncio.to_thread(detect)
        while True:
            try:
                engine.backend.check(engine.spec, hardware)
            except NotEnoughMemoryError:
                batch = engine.spec.batch or 1
                if batch == 1:
                    raise
                engine.resize(batch // 2)
            else:
                return

    # -- ending --------------------------------------------------------------------------------

    async def unload(self, key: str) -> bool:
        """Unload a model once its running requests have ended; tell whether it was loaded."""
        engine = self.engines.get(key)
        if engine is None:
            return False
        await self._drained(engine)
        await self._remove(engine)
        return True

    def unload_soon(self, key: str) -> None:
        """Unload a model in the background."""
        task = asyncio.create_task(self._unload_quietly(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _unload_quietly(self, key: str) -> None:
        await self.unload(key)

    async def _drained(self, engine: RunningEngine) -> None:
        while engine.users and engine.alive:
            await self._changed.wait()

    async def _remove(self, engine: RunningEngine) -> None:
        """Stop the engine and forget it."""
        if engine.loaded is not None and not engine.loaded.done():
            engine.loaded.cancel()
            with contextlib.suppress(asyncio.CancelledError, HyperLlamaError):
                await asyncio.shield(engine.loaded)
        for holder in engine.leases:
            self.leases[holder].models.discard(engine.model)
        engine.leases.clear()
        try:
            await engine.stop()
        finally:
            key = engine.manifest.name.key
            if self.engines.get(key) is engine:
                del self.engines[key]
            self.notify()

    async def _reap(self) -> None:
        """Unload each engine when its time has come."""
        while True:
            due = {e: e.expires_in for e in self.engines.values() if e.state == "ready"}
            late = [e for e, left in due.items() if left is not None and left <= 0]
            for engine in late:
                log.info("unloading %s: unused for %.0f s", engine.model, engine.keep_alive)
                await self._remove(engine)
            waits = [left for left in due.values() if left is not None and left > 0]
            changed = asyncio.ensure_future(self._changed.wait())
            try:
                await asyncio.wait({changed}, timeout=min(waits) if waits else None)
            finally:
                changed.cancel()

    # -- leases --------------------------------------------------------------------------------

    def open_lease(self, kind: str, pid: int | None) -> Lease:
        """Begin a lease; the caller ends it with `close_lease`."""
        lease = Lease(kind, pid)
        self.leases[lease.id] = lease
        return lease

    def close_lease(self, lease: Lease) -> None:
        """End a lease: `keep_alive` counts from now for the models that nobody else holds."""
        self.leases.pop(lease.id, None)
        for engine in self.engines.values():
            if lease.id in engine.leases:
                engine.leases.discard(lease.id)
                engine.idle_since = time.monotonic()
        self.notify()
