"""Which engines run: loading, sharing, keeping alive, evicting and restarting them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hyperllama_nb.engines.base import Backend
from hyperllama_nb.errors import (
    EngineStartError,
    HyperLlamaError,
    NotEnoughMemoryError,
    ServiceError,
)
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.store import Store
from hyperllama_nb.service.config import HyperLlamaService
from hyperllama_nb.service.deaths import Deaths
from hyperllama_nb.service.launching import UNKNOWN_BATCH, choose, fit_batch
from hyperllama_nb.service.leases import Lease
from hyperllama_nb.service.running import Report, RunningEngine

log = logging.getLogger(__name__)


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
        self._deaths = Deaths()
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
            if (
                engine is not None
                and engine.alive
                and self._outgrown(engine, manifest, context, backend)
            ):
                await self._drained(engine)
                await self._remove(engine)
                engine = None
            if engine is None or not engine.alive:
                if engine is not None:
                    await self._bury(engine)
                engine = await self._launch(key, manifest, context, backend)
            engine.users += 1
            return engine

    @staticmethod
    def _outgrown(
        engine: RunningEngine, manifest: Manifest, context: int | None, backend: str | None
    ) -> bool:
        """Tell whether it has other bytes, another backend or less context than is asked for."""
        if backend is not None and backend != engine.backend.name:
            return True
        limit = min(context or 0, manifest.context_length)
        return engine.manifest.digest != manifest.digest or limit > engine.spec.context

    async def _bury(self, engine: RunningEngine) -> None:
        """Clear away an engine that does not run any more, and remember how it died."""
        await self._remove(engine)
        if engine.died_at is not None:
            self._deaths.note(engine.model, engine.died_at, str(engine.error))

    async def _launch(
        self, key: str, manifest: Manifest, context: int | None, backend: str | None
    ) -> RunningEngine:
        """Create the engine and begin its load in a task that no caller can abort.

        Raises EngineDiedError if the model keeps dying.
        """
        if self._closed:
            raise ServiceError("The service is stopping. The next call starts a new one.")
        self._deaths.check(manifest.name.display)
        chosen, spec = await choose(
            self.backends, backend, manifest, self.store, self.settings, context
        )
        engine = RunningEngine(manifest, chosen, spec, spec.batch or UNKNOWN_BATCH)
        engine.keep_alive = self.settings.keep_alive
        engine.restarts = self._deaths.count(engine.model)
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
                await fit_batch(engine)
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
                left = engine.expires_in
                if left is None or left > 0:
                    continue  # it was used while another one was unloaded
                log.info("unloading %s: unused for %.0f s", engine.model, engine.keep_alive)
                try:
                    await self._remove(engine)
                except OSError:
                    log.exception("unloading %s", engine.model)
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
