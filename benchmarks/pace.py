"""What a token costs a process that passes it on, in CPU time, at the pace of a real engine."""

import asyncio
import time
from dataclasses import dataclass

import psutil
from streams import Way, ask

SETTLE = 1.0
"""Seconds of streaming before the measurement, for the beginning of the requests to be over."""


@dataclass(frozen=True)
class Cost:
    """Microseconds of CPU time for each token, and the tokens a second at which they were taken."""

    micros: float
    rate: float


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used in all its threads, without its children."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def idle_share(pid: int, seconds: float) -> float:
    """Return the share of a core that a process uses while nobody asks it anything."""
    began = cpu_seconds(pid)
    time.sleep(seconds)
    return (cpu_seconds(pid) - began) / seconds


def cost(pid: int, way: Way, model: str, streams: int, seconds: float, idle: float = 0.0) -> Cost:
    """Measure a process while streams flow through it; `idle` is its share of a core without.

    The beginning and the end of the requests are left out.
    """
    return asyncio.run(_cost(pid, way, model, streams, seconds, idle))


async def _cost(pid: int, way: Way, model: str, streams: int, seconds: float, idle: float) -> Cost:
    count = 0

    def heard() -> None:
        nonlocal count
        count += 1

    body = {"model": model, "prompt": "Tell me a story.", "options": {"num_predict": 4000}}
    asking = [asyncio.ensure_future(ask(way, body, heard)) for _ in range(streams)]
    try:
        await asyncio.sleep(SETTLE)
        used, before, began = cpu_seconds(pid), count, time.perf_counter()
        await asyncio.sleep(seconds)
        used, took = cpu_seconds(pid) - used, time.perf_counter() - began
        tokens = count - before
    finally:
        for task in asking:
            task.cancel()
        results = await asyncio.gather(*asking, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return Cost((used - idle * took) / tokens * 1e6, tokens / took)
