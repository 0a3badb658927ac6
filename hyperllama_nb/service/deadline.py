"""The time that a request may take."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

from hyperllama_nb.errors import DeadlineError

T = TypeVar("T")


async def within(seconds: float, parts: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Yield all parts, which must have come after that many seconds.

    Otherwise closes `parts`, which frees what it holds, and raises DeadlineError. The time in
    which nobody takes a part counts, too.
    """
    end = asyncio.get_running_loop().time() + seconds
    async with aclosing(parts):
        while True:
            # Around each step alone: a timeout must not cancel whoever takes the parts.
            limit = asyncio.timeout_at(end)
            try:
                async with limit:
                    part = await anext(parts)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if not limit.expired():
                    raise
                raise DeadlineError(
                    f"The request was ended after {seconds:g} s, which is all that one may take "
                    "here, loading and waiting included. Ask for less with `num_predict`, or raise "
                    "HYPERLLAMA_REQUEST_TIMEOUT where the service is started."
                ) from None
            yield part
