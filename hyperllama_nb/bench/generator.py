"""The load generator, a process of its own: plans come in on a line each, and records go out."""

import asyncio
import contextlib
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from hyperllama_nb.bench.records import Cell, Load, Prompt, Request, Target
from hyperllama_nb.bench.targets import Answer, ask, body
from hyperllama_nb.bench.way import Way
from hyperllama_nb.errors import HyperLlamaError, RequestError

CONNECTIONS = 512
"""Connections open at a time; a request that finds no free one waits, and its lag tells so."""

PATIENCE = 600.0
"""Seconds after which an answer without an end has failed."""

Emit = Callable[[Request], None]


def arrivals(cell: Cell, load: Load, block: int) -> list[float]:
    """Return when each measured request is due, in seconds from the first possible moment.

    It depends on nothing but the seed, the cell and the block: all targets get the same arrivals.
    """
    if cell.rate is None:
        return [0.0] * cell.requests
    if cell.arrival == "constant":
        return [number / cell.rate for number in range(cell.requests)]
    dice = random.Random(f"{load.seed}/{cell.name}/{block}")  # noqa: S311
    due, times = 0.0, []
    for _ in range(cell.requests):
        due += dice.expovariate(cell.rate)
        times.append(due)
    return times


class Turn:
    """One cell of one target in one block: warm-ups first, then the measured requests."""

    def __init__(
        self,
        target: Target,
        cell: Cell,
        load: Load,
        block: int,
        emit: Emit,
        *,
        start: float,
        connections: int = CONNECTIONS,
        patience: float = PATIENCE,
    ) -> None:
        """Check the plan; `start` is the moment of `time.perf_counter` that counts as 0.

        Raises RequestError for an address that is none, and for fewer prompts than requests: to
        ask one again would measure the cache.
        """
        wanted = cell.warmup + cell.requests
        if len(load.prompts) < wanted:
            raise RequestError(
                f"The workload {load.name!r} has {len(load.prompts)} prompts, and the load "
                f"{cell.name!r} sends {wanted}. Make a workload of that many."
            )
        self._target, self._cell, self._load, self._block = target, cell, load, block
        self._way = Way.to(target)
        self._emit, self._start = emit, start
        self._free = asyncio.Semaphore(connections)
        self._patience = patience
        # Made before the first one is sent: the generator must not be busy while it measures.
        self._bodies = [body(target, prompt) for prompt in load.prompts[:wanted]]

    async def run(self) -> None:
        """Send everything; each request is emitted when it is over, also if it is cut off."""
        cell = self._cell
        await self._closed(range(cell.warmup), cell.concurrency or 1, warmup=True)
        measured = range(cell.warmup, cell.warmup + cell.requests)
        if cell.concurrency is not None:
            await self._closed(measured, cell.concurrency, warmup=False)
        else:
            await self._open(measured)

    async def _closed(self, numbers: range, concurrency: int, *, warmup: bool) -> None:
        """Keep so many requests under way; the next one is due when one has ended."""
        waiting = iter(numbers)

        async def work() -> None:
            for number in waiting:
                await self._one(number, time.perf_counter(), warmup=warmup)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(numbers))):
                group.create_task(work())

    async def _open(self, numbers: range) -> None:
        """Begin each request when it is due, whatever has become of those before it."""
        begin = time.perf_counter()
        times = arrivals(self._cell, self._load, self._block)
        async with asyncio.TaskGroup() as group:
            for number, due in zip(numbers, times, strict=True):
                if (left := begin + due - time.perf_counter()) > 0:
                    await asyncio.sleep(left)
                group.create_task(self._one(number, begin + due, warmup=False))

    async def _one(self, number: int, due: float, *, warmup: bool) -> None:
        answer = Answer()
        try:
            async with self._free:
                await ask(self._way, self._target, self._bodies[number], answer, self._patience)
        except asyncio.CancelledError:
            answer.error = answer.error or "cut off by the end of the run before it was sent"
            raise
        finally:
            if not answer.sent:
                answer.sent = answer.finished = time.perf_counter()
            self._emit(self._record(number, due, warmup, answer))

    def _record(self, number: int, due: float, warmup: bool, answer: Answer) -> Request:
        prompt: Prompt = self._load.prompts[number]
        return Request(
            target=self._target.name,
            cell=self._cell.name,
            block=self._block,
            index=number if warmup else number - self._cell.warmup,
            warmup=warmup,
            scheduled=due - self._start,
            sent=answer.sent - self._start,
            texts=tuple(at - self._start for at in answer.texts),
            finished=answer.finished - self._start,
            status=answer.status,
            error=answer.error,
            prompt_tokens=answer.prompt_tokens,
            cached_tokens=answer.cached_tokens,
            output_tokens=answer.output_tokens,
            asked_prompt=prompt.asked_prompt,
            asked_output=prompt.asked_output,
            concurrency=self._cell.concurrency,
            rate=self._cell.rate,
        )


async def serve(
    lines: asyncio.Queue[dict[str, Any] | None], write: Callable[[Any], None], since: float = 0.0
) -> None:
    """Run plans until the input ends; `{"cancel": true}` ends the one that runs.

    Each plan is answered by its records and a last object: `{"end": null}`, or the reason why it
    could not be run. `since` is what the clock of the records shows now, in seconds.
    """
    start = time.perf_counter() - since
    running: asyncio.Task[None] | None = None
    while (line := await lines.get()) is not None:
        if "cancel" not in line:
            if running is not None:
                await running
            running = asyncio.create_task(_answer(line, write, start))
        elif running is not None:
            running.cancel()
    if running is not None:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _answer(plan: Mapping[str, Any], write: Callable[[Any], None], start: float) -> None:
    try:
        turn = Turn(
            Target.from_plain(plan["target"]),
            Cell.from_plain(plan["cell"]),
            Load.from_plain(plan["load"]),
            plan["block"],
            lambda request: write({"request": request.plain()}),
            start=start,
            connections=plan["connections"],
            patience=plan["patience"],
        )
        await turn.run()
    except asyncio.CancelledError:
        write({"end": None})  # what was cut off has its records
    except HyperLlamaError as error:
        write({"end": {"code": error.code, "message": str(error)}})
    else:
        write({"end": None})


def _listen(lines: asyncio.Queue[dict[str, Any] | None], loop: asyncio.AbstractEventLoop) -> None:
    """Read standard input in a thread of its own until whoever started us is gone."""
    for line in sys.stdin.buffer:
        loop.call_soon_threadsafe(lines.put_nowait, json.loads(line))
    loop.call_soon_threadsafe(lines.put_nowait, None)


def _write(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Serve the standard streams."""
    lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    arguments = (lines, asyncio.get_running_loop())
    threading.Thread(target=_listen, args=arguments, daemon=True).start()
    await serve(lines, _write, float(sys.argv[1]) if len(sys.argv) > 1 else 0.0)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        asyncio.run(main())
    # The thread may still hold standard input, which the interpreter's own end would wait for.
    os._exit(0)
