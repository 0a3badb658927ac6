"""Which engines run: loading, sharing, keeping alive, evicting and restarting them."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hyperllama_nb.engines.base import Backend
from hyperllama_nb.errors import (
    EngineStartError,
    HyperLlamaError,
    ServiceError,
)
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.store import Store
from hyperllama_nb.service.changes import Changes
from hyperllama_nb.service.config import HyperLlamaService
from hyperllama_nb.service.deaths import Deaths
from hyperllama_nb.service.desks import Desk, Desks, telling
from hyperllama_nb.service.endings import Endings
from hyperllama_nb.service.last import Last
from hyperllama_nb.service.launching import UNKNOWN_BATCH, choose
from hyperllama_nb.service.leases import Lease
from hyperllama_nb.service.metrics import Metrics
from hyperllama_nb.service.room import Room
from hyperllama_nb.service.running import PROGRESS_INTERVAL, Report, RunningEngine
from hyperllama_nb.service.warming import Warming

log = logging.getLogger(__name__)


class Manager:
    """The engines of one service. All methods belong to the service's event loop."""

    def __init__(
        self,
        store: Store,
        backends: dict[str, Backend],
        settings: HyperLlamaService,
        metrics: Metrics | None = None,
    ) -> None:
        self.store = store
        self.backends = backends
        self.settings = settings
        self.metrics = metrics or Metrics()
        self.engines: dict[str, RunningEngine] = {}
        self.leases: dict[str, Lease] = {}
        self.desks = Desks()
        self._changes = Changes()
        self._endings = Endings(self.engines, self.leases, self._changes)
        remove = self._endings.remove
        self._room = Room(self.engines, settings.max_loaded_models, self._changes, remove)
        self._deaths = Deaths()
        self.last = Last()
        self.warming = Warming(store, backends, settings, self.engines, self._changes)
        self._watches: set[asyncio.Task[None]] = set()
        self._reaper: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to unload what has expired."""
        self._reaper = asyncio.create_task(self._endings.reap())

    async def close(self) -> None:
        """Stop every engine; returns when no process of theirs is left."""
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
            await asyncio.wait({self._reaper})
        await self.warming.close()
        ends = [self._endings.remove(engine) for engine in self.engines.values()]
        await asyncio.gather(*ends, return_exceptions=True)
        await asyncio.gather(*self._watches)

    @property
    def busy(self) -> bool:
        """Tell whether a request uses an engine or waits for one."""
        return bool(self.desks)

    async def quiet(self) -> None:
        """Wait until no request uses an engine."""
        while self.busy:
            await self._changes.wait()

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
        key = manifest.name.key
        loaded = False
        try:
            with self.desks.at(key, context, self._most(key)) as desk:
                engine = await self._claim(desk, manifest, context, backend, report)
                holder = self.leases.get(lease or "")
                if holder is not None and keep_alive != 0:
                    self._hold(engine, {holder.id})
                if holder is not None and holder.kind == "kernel":
                    self.last.note(engine)
                if keep_alive is not None:
                    engine.keep_alive = keep_alive
                try:
                    await engine.wait_loaded(report)
                    loaded = True
                    # From here on, so that it wakes while the prompt is made.
                    with engine.process.sleep.awake():
                        yield engine
                finally:
                    engine.users -= 1
                    engine.idle_since = time.monotonic()
                    if holder is not None and keep_alive == 0:
                        engine.leases.discard(holder.id)
                        holder.models.discard(engine.model)
        except asyncio.CancelledError:
            if not loaded:
                self.metrics.cancellations.labels("loading").inc()
            raise
        finally:
            self._changes.notify()

    def _most(self, key: str) -> int:
        """Return how many requests may be at a model: as many as wait, and those that run."""
        engine = self.engines.get(key)
        if engine is not None and engine.state == "ready":
            return engine.admission.slots + self.settings.max_queue
        # All of them wait for the load; somebody has to, or it would never be loaded.
        return max(self.settings.max_queue, 1)

    async def _claim(
        self,
        desk: Desk,
        manifest: Manifest,
        context: int | None,
        backend: str | None,
        report: Report | None,
    ) -> RunningEngine:
        """Return an engine that is loading or ready, with one user more."""
        key = manifest.name.key
        engine = self.engines.get(key)
        fits = engine is not None and not self._unfit(engine, manifest, context, backend)
        if engine is not None and fits and not desk.lock.locked():
            engine.users += 1
            return engine
        engine = None
        try:
            async with self._waiting(manifest, report), desk.lock:
                engine = await self._fitting(desk, manifest, context, backend)
                engine.users += 1
        except BaseException:
            # The caller may leave just when the engine is his.
            if engine is not None:
                engine.users -= 1
            raise
        return engine

    async def _fitting(
        self, desk: Desk, manifest: Manifest, context: int | None, backend: str | None
    ) -> RunningEngine:
        """Return an engine that fits the request, replacing one that does not once it is idle.

        The new one is held by the leases of the one that it replaces, and kept alive as long.
        """
        key = manifest.name.key
        keep_alive, leases = self.settings.keep_alive, set[str]()
        while True:
            engine = self.engines.get(key)
            if engine is None:
                # For all who wait: each new length would be a compilation of its own.
                engine = await self._launch(key, manifest, desk.context, backend)
                engine.keep_alive = keep_alive
                self._hold(engine, leases)
                return engine
            if not self._unfit(engine, manifest, context, backend):
                return engine
            if engine.alive and engine.users:
                await self._changes.wait()
                continue
            if engine.state != "stopping":
                keep_alive, leases = engine.keep_alive, set(engine.leases)
            await self._bury(engine)

    def _hold(self, engine: RunningEngine, leases: set[str]) -> None:
        """Let those of the leases that are still open keep the engine."""
        for holder in leases & self.leases.keys():
            engine.leases.add(holder)
            self.leases[holder].models.add(engine.model)

    @asynccontextmanager
    async def _waiting(self, manifest: Manifest, report: Report | None) -> AsyncIterator[None]:
        """Tell who waits for an engine to be replaced that it still does."""
        if report is None:
            yield
            return
        model, started, tell = manifest.name.display, time.monotonic(), report

        async def still() -> None:
            line = {"status": "loading", "model": model, "phase": "wait"}
            line["message"] = f"waiting until the requests that use {model} have ended"
            await tell({**line, "elapsed": round(time.monotonic() - started, 3)})

        async with telling(still, PROGRESS_INTERVAL):
            yield

    def _unfit(
        self, engine: RunningEngine, manifest: Manifest, context: int | None, backend: str | None
    ) -> bool:
        """Tell whether a request has to wait for another engine than this one."""
        if not engine.alive or engine is self._room.closing:
            return True
        return self._outgrown(engine, manifest, context, backend)

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
        """Clear an engine away, and remember how it died if it did."""
        await self._endings.remove(engine)
        if engine.died_at is not None:
            self._deaths.note(engine.model, engine.died_at, str(engine.error))
            self.metrics.restarts.labels(self.metrics.model(engine.model)).inc()

    async def _launch(
        self, key: str, manifest: Manifest, context: int | None, backend: str | None
    ) -> RunningEngine:
        """Create the engine and begin its load in a task that no caller can abort.

        Raises EngineDiedError if the model keeps dying.
        """
        self._check_open()
        self._deaths.check(manifest.name.display)
        chosen, spec = await choose(
            self.backends, backend, manifest, self.store, self.settings, context
        )
        self._check_open()
        slots = spec.batch or UNKNOWN_BATCH
        rest = self.settings.sleep_after
        engine = RunningEngine(manifest, chosen, spec, slots, self.metrics, rest)
        engine.restarts = self._deaths.count(engine.model)
        self.engines[key] = engine
        engine.loaded = asyncio.create_task(self._load(engine), name=f"load {manifest.name}")
        # A load that fails after its last caller left is told in the log, not as a lost exception.
        engine.loaded.add_done_callback(lambda task: task.cancelled() or task.exception())
        return engine

    def _check_open(self) -> None:
        if self._closed:
            raise ServiceError("The service is stopping. The next call starts a new one.")

    async def _load(self, engine: RunningEngine) -> None:
        """Load the engine when it is its turn, and note how it ends."""
        try:
            await self.warming.let_finish(engine)
            await self._room.load(engine, self.settings.load_timeout)
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
            self._changes.notify()
        await self.warming.note(engine)
        watch = asyncio.create_task(self._watch(engine), name=f"watch {engine.model}")
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)

    async def _watch(self, engine: RunningEngine) -> None:
        await engine.watch()
        self._changes.notify()

    # -- ending --------------------------------------------------------------------------------

    async def unload(self, key: str) -> bool:
        """Unload a model once its running requests have ended; tell whether it was loaded."""
        return await self._endings.unload(key)

    def pin(self, key: str, *, pinned: bool) -> RunningEngine | None:
        """Keep a loaded model for ever, or as long as usual from now on; return its engine."""
        engine = self.engines.get(key)
        if engine is None or not engine.alive:
            return None
        engine.keep_alive = math.inf if pinned else self.settings.keep_alive
        engine.idle_since = time.monotonic()
        self._changes.notify()
        return engine

    def unload_soon(self, key: str) -> None:
        """Unload a model in the background, as soon as no request uses it."""
        self._endings.unload_soon(key)

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
        self._changes.notify()
