"""What an idle engine costs awake and asleep, and what a sleep adds to the next answer.

Run it on an otherwise idle machine: `python benchmarks/idle.py [MODEL] [--pairs 20]`. Before each
measured request the engine is idle for the same time, in random order asleep or kept awake, so that
slow phases of the machine and cold caches meet both alike.
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence

import psutil
from alone import Alone, engine_alone, planned

from hyperllama_nb.engines.group import members
from hyperllama_nb.engines.max.leaning import CHOICE

TOKENS = 4
"""Tokens of each answer."""

LENGTH = 10
"""Tokens of each prompt: new ones each time, so that nothing is answered from a cache."""


def processor_time(group: int) -> float:
    """Return the seconds of processor time that the processes of a group have used so far."""
    used = 0.0
    for process in members(group):
        times = process.cpu_times()
        used += times.user + times.system
    return used


async def cost(engine: Alone, seconds: float) -> float:
    """Return the percentage of one core that the idle engine uses."""
    assert engine.process.pid is not None
    before, started = processor_time(engine.process.pid), time.monotonic()
    await asyncio.sleep(seconds)
    spent = processor_time(engine.process.pid) - before
    return 100 * spent / (time.monotonic() - started)


async def asleep(engine: Alone) -> None:
    """Let the engine sleep, and see to it that all of its processes do."""
    assert engine.process.pid is not None
    engine.process.sleep.allow(0.0)
    states: set[str] = set()
    while states != {psutil.STATUS_STOPPED}:
        await asyncio.sleep(0.01)
        states = {process.status() for process in members(engine.process.pid)}


async def first_token(engine: Alone, ids: list[int]) -> float:
    """Return the milliseconds to the first piece of text."""
    params = {"model": engine.model, "max_tokens": TOKENS, "temperature": 0}
    started, first = time.perf_counter(), 0.0
    async for event in engine.wire.stream(ids, engine.backend.params(engine.spec, params)):
        if event.text and not first:
            first = time.perf_counter() - started
    return 1000 * first


async def pairs(engine: Alone, count: int, pause: float) -> dict[str, list[float]]:
    """Return the times to the first token after a pause, awake and asleep."""
    chance = random.Random(1)
    found: dict[str, list[float]] = {"awake": [], "asleep": []}
    for _ in range(count):
        for way in chance.sample(list(found), 2):
            engine.process.sleep.forbid()
            ids = [chance.randrange(100, 30_000) for _ in range(LENGTH)]
            await engine.answer(ids, TOKENS)
            if way == "asleep":
                await asleep(engine)
            await asyncio.sleep(pause)
            ids = [chance.randrange(100, 30_000) for _ in range(LENGTH)]
            found[way].append(await first_token(engine, ids))
    return found


def words(values: Sequence[float]) -> str:
    """Return the median, and the middle nine tenths."""
    low, *_, high = statistics.quantiles(values, n=20)
    return f"median {statistics.median(values):.1f} ms, 90 % in {low:.1f} to {high:.1f} ms"


async def measure(args: argparse.Namespace) -> None:
    """Print the figures."""
    if args.launch:
        os.environ[CHOICE] = args.launch
    backend, spec = await planned(args.model, args.backend)
    async with engine_alone(backend, spec) as engine:
        sleeps = "sleeps" in backend.capabilities(spec)
        print(f"{engine.model} on {backend.name}, which {'sleeps' if sleeps else 'stays awake'}")
        await engine.answer(list(range(100, 100 + LENGTH)), TOKENS)
        await asyncio.sleep(2)
        print(f"awake and idle: {await cost(engine, args.seconds):.2f} % of a core")
        await asleep(engine)
        print(f"asleep: {await cost(engine, args.seconds):.2f} % of a core")
        found = await pairs(engine, args.pairs, args.pause)
        for way, values in found.items():
            print(f"first token, {way}: {words(values)}")
        waking = [b - a for a, b in zip(found["awake"], found["asleep"], strict=True)]
        mean, error = statistics.fmean(waking), statistics.stdev(waking) / len(waking) ** 0.5
        print(f"added by a sleep: {mean:.1f} ± {2 * error:.1f} ms (mean of {args.pairs} pairs)")


def main() -> int:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="smollm2:135m")
    parser.add_argument("--backend", default=None)
    parser.add_argument("--launch", choices=("serve", "lean"), help="the way to launch MAX")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--pause", type=float, default=1.0)
    asyncio.run(measure(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
