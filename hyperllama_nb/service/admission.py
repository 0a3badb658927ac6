"""A bounded queue in front of an engine's batch slots."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from hyperllama_nb.errors import BusyError

Report = Callable[[int], Awaitable[None]]
"""Called with the place in the queue (1: next) when it changes."""


class Admission:
    """Let `slots` requests through at a time, in order of arrival; `limit` others may wait."""

    def __init__(self, slots: int, limit: int) -> None:
        self.slots = slots
        self.limit = limit
        self.running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._moved = asyncio.Event()

    @property
    def queued(self) -> int:
        """Return how many requests wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def slot(self, report: Report | None = None, caller: str = "") -> AsyncIterator[None]:
        """Hold a slot for the duration of the block.

        Raises BusyError at once if the queue is full. Cancelling the wait leaves the queue.
        """
        if self.running < self.slots and not self._waiting:
            self.running += 1
        else:
            await self._wait(report)
        try:
            yield
        finally:
            self._release()

    async def _wait(self, report: Report | None) -> None:
        if len(self._waiting) >= self.limit:
            # Ollama's own text, with its two spaces: clients match on it.
            raise BusyError("server busy, please try again.  maximum pending requests exceeded")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            while not turn.done():
                if report is None:
                    await turn
                    break
                self._moved.clear()
                await report(self._waiting.index(turn) + 1)
                moved = asyncio.ensure_future(self._moved.wait())
                try:
                    either: set[asyncio.Future[Any]] = {turn, moved}
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    moved.cancel()
        except BaseException:
            if turn in self._waiting:
                self._waiting.remove(turn)
                self._moved.set()
            elif turn.done() and not turn.cancelled():
                self._release()
            raise

    def _release(self) -> None:
        """Hand the slot to the next in line, or free it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._moved.set()
                return
        self.running -= 1
