"""Who is at which model: requests are counted from arrival to end, and so many may wait."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from hyperllama_nb.errors import BusyError
from hyperllama_nb.service.admission import BUSY


class Desk:
    """The requests at one model, whether they wait for its engine, in its queue, or run.

    Holding `lock` is the right to launch and to replace the model's engine.
    """

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.present = 0
        self._contexts: Counter[int] = Counter()

    @property
    def context(self) -> int | None:
        """Return the longest context that a present request asks for; None if none asks."""
        return max(self._contexts, default=0) or None

    def arrive(self, context: int) -> None:
        """Count a request that asks for so much context (0: for none)."""
        self.present += 1
        self._contexts[context] += 1

    def leave(self, context: int) -> None:
        """Count it no more."""
        self.present -= 1
        self._contexts[context] -= 1
        if not self._contexts[context]:
            del self._contexts[context]


class Desks:
    """The desks of the models at which somebody is; a model that nobody wants has none."""

    def __init__(self) -> None:
        self._desks: dict[str, Desk] = {}

    @contextmanager
    def at(self, key: str, context: int | None, room: int) -> Iterator[Desk]:
        """Be at a model's desk for the duration of the block.

        Raises BusyError at once if `room` requests are there already.
        """
        desk = self._desks.get(key) or Desk()
        if desk.present >= room:
            raise BusyError(BUSY)
        self._desks[key] = desk
        desk.arrive(context or 0)
        try:
            yield desk
        finally:
            desk.leave(context or 0)
            if not desk.present:
                del self._desks[key]

    def present(self, key: str) -> int:
        """Return how many requests are at a model."""
        return self._desks[key].present if key in self._desks else 0

    def __bool__(self) -> bool:
        return bool(self._desks)


@asynccontextmanager
async def telling(tell: Callable[[], Awaitable[None]], every: float) -> AsyncIterator[None]:
    """Call `tell` each so many seconds for the duration of the block; never breaks a call off."""
    over = asyncio.Event()

    async def speak() -> None:
        while not over.is_set():
            try:
                async with asyncio.timeout(every):
                    await over.wait()
            except TimeoutError:
                await tell()

    speaker = asyncio.create_task(speak())
    try:
        yield
    finally:
        over.set()
        await asyncio.wait({speaker})
    speaker.result()
