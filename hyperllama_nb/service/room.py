"""Room for engines: one load at a time, in line, and the unloading of the idle for it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from hyperllama_nb.errors import NotEnoughMemoryError
from hyperllama_nb.service.changes import Changes
from hyperllama_nb.service.launching import fit_batch
from hyperllama_nb.service.running import RunningEngine

log = logging.getLogger(__name__)

TURN = 10.0
"""Seconds that a load waits for models in use, before one of these takes no new requests."""


class Room:
    """The line of the loads that wait for room.

    Who came first unloads what is idle. Others overtake him where they fit as it is, but only for
    a while: after `TURN` seconds nobody overtakes any more, and the model that has been loaded
    longest is `closing`: its requests in progress end, new ones wait until it is its turn again.
    """

    def __init__(
        self,
        engines: Mapping[str, RunningEngine],
        limit: int,
        changes: Changes,
        remove: Callable[[RunningEngine], Awaitable[None]],
    ) -> None:
        self.closing: RunningEngine | None = None
        self._engines = engines
        self._limit = limit
        self._changes = changes
        self._remove = remove
        self._line: dict[RunningEngine, float] = {}
        self._loading = asyncio.Lock()

    async def load(self, engine: RunningEngine, deadline: float) -> None:
        """Load the engine once there is room: only then is it known what the others have left.

        Raises NotEnoughMemoryError where not even the unloading of all others would help, and
        what the load raises.
        """
        self._line[engine] = time.monotonic()
        try:
            while True:
                async with self._loading:
                    if await self._made(engine):
                        self._leave(engine)
                        await engine.load(deadline)
                        return
                seen = self._view(engine)
                while self._view(engine) == seen:
                    await self._changes.wait(self._patience(engine))
        finally:
            self._leave(engine)

    def _leave(self, engine: RunningEngine) -> None:
        if self._line.pop(engine, None) is not None:
            self.closing = None
            self._changes.notify()

    def _patience(self, engine: RunningEngine) -> float | None:
        """Return the seconds until the first in line runs out of patience; None for the others."""
        left = self._line[engine] + TURN - time.monotonic()
        return left if left > 0 and self._is_first(engine) else None

    def _is_first(self, engine: RunningEngine) -> bool:
        return next(iter(self._line)) is engine

    @property
    def _late(self) -> bool:
        """Tell whether the first in line has waited long enough."""
        return time.monotonic() >= next(iter(self._line.values())) + TURN

    async def _made(self, engine: RunningEngine) -> bool:
        """Shrink the batch, then unload the idle, until the engine fits.

        Returns False where it has to wait for a change.
        """
        while True:
            if self._late and not self._is_first(engine):
                return False
            others = self._others(engine)
            try:
                self._check_count(engine, len(others))
                await fit_batch(engine)
            except NotEnoughMemoryError as error:
                if self._others(engine) != others:
                    continue  # one of them went while memory was looked at
                if not others:
                    raise
                engine.wait(f"waiting until other models are idle: {error}")
                idle = [e for e in others if e.idle]
                if not self._is_first(engine) or not idle:
                    self._close_one(others)
                    return False
                victim = min(idle, key=lambda e: (bool(e.leases), e.idle_since))
                log.info("unloading %s to make room for %s", victim.model, engine.model)
                await self._remove(victim)
            else:
                return True

    def _others(self, engine: RunningEngine) -> list[RunningEngine]:
        """Return the engines that take memory."""
        return [e for e in self._engines.values() if e is not engine and e.resident]

    def _view(self, engine: RunningEngine) -> tuple[object, ...]:
        """Return all that decides whether it is worth another try."""
        others = self._others(engine)
        return self._is_first(engine), self._late, others, [e for e in others if e.idle]

    def _check_count(self, engine: RunningEngine, others: int) -> None:
        if self._limit and others >= self._limit:
            raise NotEnoughMemoryError(
                f"{others} models are loaded and in use, which is all that "
                f"OLLAMA_MAX_LOADED_MODELS allows, so {engine.model} has to wait."
            )

    def _close_one(self, others: list[RunningEngine]) -> None:
        """Close the model that has been loaded longest, if somebody has waited long enough."""
        ready = [e for e in others if e.state == "ready"]
        if self._late and ready and self.closing not in ready:
            self.closing = min(ready, key=lambda e: e.started)
            self._changes.notify()
