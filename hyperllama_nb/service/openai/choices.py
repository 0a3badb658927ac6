"""Several answers to one request, made side by side."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from hyperllama_nb.service.ask import Ask, Outcome, Piece
from hyperllama_nb.service.generation import generate
from hyperllama_nb.service.manager import Manager

Part = tuple[int, Piece | Outcome]
"""A piece of the answer with this index, or the end of that answer."""


def varied(ask: Ask, number: int) -> list[Ask]:
    """Return `ask` that many times, each with a seed of its own.

    Where a seed was given they count up from it, so that the answers can be had again.
    """
    seed = ask.options.seed
    if number == 1 or seed is None:
        return [ask] * number
    return [
        replace(ask, options=replace(ask.options, values={**ask.options.values, "seed": seed + i}))
        for i in range(number)
    ]


async def answers(manager: Manager, asks: Sequence[Ask]) -> AsyncGenerator[Part, None]:
    """Stream the pieces of all answers as they come, and each one's Outcome.

    The first error ends them all. Closing the iterator cancels them in the engine.
    """
    if len(asks) == 1:
        async with contextlib.aclosing(generate(manager, asks[0])) as parts:
            async for part in parts:
                yield 0, part
        return
    # Bounded, so that a client who does not read holds the engine back, as with one answer.
    queue: asyncio.Queue[Part | BaseException] = asyncio.Queue(len(asks))

    async def pump(index: int, ask: Ask) -> None:
        try:
            async with contextlib.aclosing(generate(manager, ask)) as parts:
                async for part in parts:
                    await queue.put((index, part))
        except Exception as error:  # noqa: BLE001  it is raised where the queue is read
            await queue.put(error)

    tasks = [asyncio.create_task(pump(index, ask)) for index, ask in enumerate(asks)]
    try:
        running = len(tasks)
        while running:
            found = await queue.get()
            if isinstance(found, BaseException):
                raise found
            if isinstance(found[1], Outcome):
                running -= 1
            yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
