"""The time that a request may take."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar

from hyperllama_nb.errors import DeadlineError

T = TypeVar("T")


async def within(seconds: float, parts: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Yield all parts, which must have come after that many seconds.

    Otherwise closes `parts`, which frees what it holds, and raises DeadlineError. The time in
    which nobody takes a part counts, too.
    """
    limit = _Limit()
    timer = asyncio.get_running_loop().call_later(seconds, limit.expire)
    try:
        async with aclosing(parts):
            while not limit.expired:
                task = limit.waiting = asyncio.current_task()
                assert task is not None, "a generator is driven by a task"
                cancelled = task.cancelling()
                try:
                    part = await anext(parts)
                except StopAsyncIteration:
                    return
                except asyncio.CancelledError:
                    # Somebody else may have cancelled the task in the same moment.
                    if not limit.expired or task.uncancel() > cancelled:
                        raise
                    break
                finally:
                    limit.waiting = None
                yield part
    finally:
        timer.cancel()
    raise DeadlineError(
        f"The request was ended after {seconds:g} s, which is all that one may take "
        "here, loading and waiting included. Ask for less with `num_predict`, or raise "
        "HYPERLLAMA_REQUEST_TIMEOUT where the service is started."
    )


class _Limit:
    """One timer for all parts: a timeout around each of them costs a third of a token's time.

    It cancels a task only while that waits for a part, and never whoever takes the parts.
    """

    def __init__(self) -> None:
        self.expired = False
        self.waiting: asyncio.Task[Any] | None = None

    def expire(self) -> None:
        """End the wait, if there is one; the next one is not begun."""
        self.expired = True
        if self.waiting is not None:
            self.waiting.cancel()
