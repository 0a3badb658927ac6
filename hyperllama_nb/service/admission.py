"""A bounded queue in front of an engine's batch slots, fair between callers."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from hyperllama_nb.errors import BusyError

Report = Callable[[int], Awaitable[None]]
"""Called with the place in the queue (1: next) when it changes."""

Turn = asyncio.Future[None]

BUSY = "server busy, please try again.  maximum pending requests exceeded"
"""Ollama's own text, with its two spaces: clients match on it."""


class Admission:
    """Let `slots` requests through at a time; `limit` others may wait.

    Callers take turns: each one's requests keep their order, and the next slot goes to the caller
    who has waited longest since his last one. So nobody waits for more than one request of each
    other caller, however many of them somebody sends.
    """

    def __init__(self, slots: int, limit: int) -> None:
        self.slots = slots
        self.limit = limit
        self.running = 0
        self.queued = 0
        self._queues: OrderedDict[str, OrderedDict[Turn, None]] = OrderedDict()
        self._moved = asyncio.Event()

    @asynccontextmanager
    async def slot(self, report: Report | None = None, caller: str = "") -> AsyncIterator[None]:
        """Hold a slot for the duration of the block.

        Raises BusyError at once if the queue is full. Cancelling the wait leaves the queue.
        """
        if self.running < self.slots and not self.queued:
            self.running += 1
        else:
            await self._wait(report, caller)
        try:
            yield
        finally:
            self._release()

    def place(self, caller: str, turn: Turn) -> int:
        """Return how many slots must become free until it is this turn's, itself included."""
        own = list(self._queues[caller]).index(turn)
        passed = False
        ahead = 0
        for name, queue in self._queues.items():
            passed = passed or name == caller
            # Who comes after the caller in this round has had one turn less before him.
            ahead += min(len(queue), own + (0 if passed else 1)) if name != caller else own
        return ahead + 1

    async def _wait(self, report: Report | None, caller: str) -> None:
        if self.queued >= self.limit:
            raise BusyError(BUSY)
        turn: Turn = asyncio.get_running_loop().create_future()
        self._queues.setdefault(caller, OrderedDict())[turn] = None
        self.queued += 1
        self._move()  # a caller's first request passes the later ones of others
        try:
            if report is None:
                # Not `await turn`: that would cancel the turn with the waiting task, and whoever
                # releases a slot before the task has noticed would give it to nobody.
                await asyncio.wait({turn})
            else:
                await self._told(report, caller, turn)
        except BaseException:
            if turn.done():
                self._release()
            else:
                self._leave(caller, turn)
            raise

    async def _told(self, report: Report, caller: str, turn: Turn) -> None:
        """Wait for the turn, telling its place at each change."""
        last = 0
        while not turn.done():
            moved = asyncio.ensure_future(self._moved.wait())
            try:
                place = self.place(caller, turn)
                if place != last:
                    last = place
                    await report(place)
                either: set[asyncio.Future[Any]] = {turn, moved}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                moved.cancel()

    def _leave(self, caller: str, turn: Turn) -> None:
        """Take a waiting turn out of the queue."""
        queue = self._queues[caller]
        del queue[turn]
        self.queued -= 1
        if not queue:
            del self._queues[caller]
        self._move()

    def _release(self) -> None:
        """Hand the slot to the next in line, or free it."""
        if self.running > self.slots or not self._queues:
            self.running -= 1
            return
        caller, queue = next(iter(self._queues.items()))
        turn, _ = queue.popitem(last=False)
        self.queued -= 1
        if queue:
            self._queues.move_to_end(caller)
        else:
            del self._queues[caller]
        turn.set_result(None)
        self._move()

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
