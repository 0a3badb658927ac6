"""The end of engines: unloading, expiry, and stopping each one once."""

import asyncio
import logging
from collections.abc import Mapping

from hyperllama_nb.service.changes import Changes
from hyperllama_nb.service.leases import Lease
from hyperllama_nb.service.running import RunningEngine

log = logging.getLogger(__name__)


class Endings:
    """Stops the engines of a manager, and takes them out of its dictionary when they are gone."""

    def __init__(
        self, engines: dict[str, RunningEngine], leases: Mapping[str, Lease], changes: Changes
    ) -> None:
        self._engines = engines
        self._leases = leases
        self._changes = changes

    async def unload(self, key: str) -> bool:
        """Unload a model once its running requests have ended; tell whether it was loaded."""
        engine = self._engines.get(key)
        if engine is None:
            return False
        while engine.users and engine.alive:
            await self._changes.wait()
        await self.remove(engine)
        return True

    def unload_soon(self, key: str) -> None:
        """Unload a model in the background, as soon as no request uses it.

        A later request that has a `keep_alive` or a lease of its own overrules it.
        """
        engine = self._engines.get(key)
        if engine is None:
            return
        engine.keep_alive = 0.0
        self._drop_leases(engine)
        if not engine.users:
            self.begin(engine)
        self._changes.notify()

    async def remove(self, engine: RunningEngine) -> None:
        """Stop the engine and forget it; it is stopped even if the caller leaves."""
        await asyncio.shield(self.begin(engine))

    def begin(self, engine: RunningEngine) -> asyncio.Task[None]:
        """Begin to stop the engine: from now on no request is given it."""
        if engine.ending is None:
            engine.leave()
            self._drop_leases(engine)
            engine.ending = asyncio.create_task(self._stop(engine), name=f"end {engine.model}")
        return engine.ending

    async def _stop(self, engine: RunningEngine) -> None:
        try:
            if engine.loaded is not None and not engine.loaded.done():
                engine.loaded.cancel()
                await asyncio.wait({engine.loaded})
            await engine.stop()
        except OSError:
            log.exception("unloading %s", engine.model)
        finally:
            del self._engines[engine.manifest.name.key]
            self._changes.notify()

    def _drop_leases(self, engine: RunningEngine) -> None:
        for holder in engine.leases:
            self._leases[holder].models.discard(engine.model)
        engine.leases.clear()

    async def reap(self) -> None:
        """Unload each engine when its time has come; never returns."""
        while True:
            due = {e: e.expires_in for e in self._engines.values() if e.state == "ready"}
            for engine, left in due.items():
                if left is not None and left <= 0:
                    log.info("unloading %s: unused for %.0f s", engine.model, engine.keep_alive)
                    self.begin(engine)
            waits = [left for left in due.values() if left is not None and left > 0]
            await self._changes.wait(min(waits, default=None))
