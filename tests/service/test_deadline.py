"""The time that a request may take, without a service."""

import asyncio

import pytest

from hyperllama_nb.errors import DeadlineError
from hyperllama_nb.service.deadline import within


class Parts:
    """Parts that come without an end, and what became of them."""

    def __init__(self, delay):
        self.delay = delay
        self.closed = False

    async def come(self):
        try:
            for number in range(10**6):
                await asyncio.sleep(self.delay)
                yield number
        finally:
            self.closed = True


def test_what_comes_in_time_passes():
    async def few():
        for number in range(3):
            yield number

    async def work():
        return [number async for number in within(60, few())]

    assert asyncio.run(work()) == [0, 1, 2]


@pytest.mark.parametrize("delay", [0, 0.01, 60])
def test_what_comes_late_is_an_error_and_frees_what_it_holds(delay):
    parts = Parts(delay)

    async def work():
        with pytest.raises(DeadlineError, match=r"after 0\.2 s"):
            async for _ in within(0.2, parts.come()):
                pass
        assert parts.closed

    asyncio.run(work())


def test_a_timeout_within_the_work_is_not_the_deadline():
    async def failing():
        yield 1
        raise TimeoutError("another one")

    async def work():
        async for _ in within(60, failing()):
            pass

    with pytest.raises(TimeoutError, match="another one"):
        asyncio.run(work())


def test_who_takes_the_parts_slowly_is_not_cancelled():
    parts = Parts(0)

    taken = []

    async def work():
        async for part in within(0.1, parts.come()):
            taken.append(part)
            await asyncio.sleep(0.3)

    with pytest.raises(DeadlineError):
        asyncio.run(work())
    assert taken == [0]
