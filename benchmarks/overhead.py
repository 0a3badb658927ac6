"""What the service and the Jupyter door add to an engine.

Run it on an otherwise idle machine. The ways in take turns, so that slow phases of the machine
meet them alike; intervals are 95 % bootstrap intervals of the median over the turns.

    python benchmarks/overhead.py                     scripted engines: CPU time, first token
    python benchmarks/overhead.py --profile           where the service's CPU time goes
    python benchmarks/overhead.py --model NAME [--streams 8]     a real engine, and %load_ext

Scripted engines (100 tokens a second for each stream, one write for each token) keep the engine's
own work and noise out; each of the three ways has the same client, on a new connection each time.
"""

import argparse
import asyncio
import contextlib
import os
import random
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
from attaching import attach_cost, load_ext_cost
from door import jupyter_server, pid_of
from pace import cost, idle_share
from sampling import report as report_profile
from scripted import MODEL, Scripted, scripted_service
from streams import Run, Way, ask, door_way, engine_way, rate_of, service_way, together

from hyperllama_nb import Client
from hyperllama_nb.engines.openai import sampling
from hyperllama_nb.errors import ServiceError
from hyperllama_nb.models.store import Store
from hyperllama_nb.runtime import socket_path
from hyperllama_nb.service.prompt import Prompter

RESAMPLES = 10_000

RATE = 100.0
"""Tokens a second of each stream of a scripted engine."""

FIRST = 0.05
"""Seconds to the first token of a scripted engine."""

WINDOW = 4.0
"""Seconds of streaming in one measurement of CPU time."""

MANY = 8


def interval(
    values: Sequence[float], statistic: Callable[[Sequence[float]], float] = statistics.median
) -> str:
    """Return the statistic with its 95 % percentile-bootstrap interval."""
    rng = random.Random(0)
    spread = sorted(statistic(rng.choices(values, k=len(values))) for _ in range(RESAMPLES))
    low, high = spread[int(0.025 * RESAMPLES)], spread[int(0.975 * RESAMPLES)]
    return f"{statistic(values):.4g} [{low:.4g}, {high:.4g}]"


def row(words: str, values: Sequence[float]) -> None:
    print(f"{words:<44}{interval(values)}", flush=True)


def scripted(pairs: int) -> None:
    """Print the CPU time of a token, and what is added to the time to the first token."""
    token = secrets.token_hex(16)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="over", dir="/tmp")))
        service = stack.enter_context(scripted_service(place, rate=RATE, first=FIRST, slots=MANY))
        jupyter = place / "jupyter"
        jupyter.mkdir()
        url = stack.enter_context(jupyter_server(jupyter, token))
        ways = [service_way(service.socket), door_way(url, token)]
        for way in ways:
            asyncio.run(ask(way, body_for(MODEL, 2)))
        cpu_times(ways, {"service": service.pid, "door": pid_of(jupyter)}, max(4, pairs // 4))
        ids = list(range(16))
        engine = {"model": f"{MODEL}:latest", "prompt": ids, "max_tokens": 4, "stream": True}
        bodies = {"engine": engine, "service": body_for(MODEL, 4), "door": body_for(MODEL, 4)}
        ways.insert(0, engine_way(loaded_engine(MODEL)))
        turns = in_turns(ways, pairs, lambda way, _: [bodies[way.name]])
        print(f"time to the first token, an engine of {FIRST * 1e3:.0f} ms, {pairs} turns")
        firsts(turns)


def cpu_times(ways: Sequence[Way], pids: dict[str, int], windows: int) -> None:
    """Print the CPU time for each token of each process on the way, idle time taken off."""
    idle = {name: idle_share(pid, WINDOW) for name, pid in pids.items()}
    for streams in (1, MANY):
        found: dict[str, list[float]] = {way.name: [] for way in ways}
        rates = []
        for _ in range(windows):
            for way in ways:
                taken = cost(pids[way.name], way, MODEL, streams, WINDOW, idle[way.name])
                found[way.name].append(taken.micros)
                rates.append(taken.rate)
        print(f"{streams} x {RATE:.0f} tokens/s ({statistics.median(rates):.0f} measured)")
        for name, micros in found.items():
            row(f"  CPU time of the {name} for a token, µs", micros)


def profile(seconds: float) -> None:
    """Print where the CPU time of the service goes: while tokens flow, and in short requests."""
    for streams in (1, MANY, 0):
        with tempfile.TemporaryDirectory(prefix="over", dir="/tmp") as place:
            samples = Path(place, "samples")
            with scripted_service(
                Path(place), rate=RATE, first=0.0, slots=MANY, profile=samples
            ) as service:
                title = profiled(service, streams, seconds)
            print(title)
            report_profile(samples)


def profiled(service: Scripted, streams: int, seconds: float) -> str:
    """Keep the service busy with streams, or with one request after another; say with what."""
    way = service_way(service.socket)
    asyncio.run(ask(way, body_for(MODEL, 2)))
    service.begin_profile()
    if streams:
        taken = cost(service.pid, way, MODEL, streams, seconds)
        return f"{streams} x {taken.rate / streams:.0f} tokens/s: {taken.micros:.0f} µs a token"
    count, used = 0, psutil.Process(service.pid).cpu_times().user
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        asyncio.run(ask(way, body_for(MODEL, 1)))
        count += 1
    used = psutil.Process(service.pid).cpu_times().user - used
    return f"requests for one token: {used / count * 1e6:.0f} µs (user) a request"


def body_for(model: str, tokens: int, prompt: str = "Tell me a story.") -> dict[str, Any]:
    return {
        "model": model,
        "prompt": prompt,
        "options": {"temperature": 0, "num_predict": tokens},
    }


def loaded_engine(model: str) -> Path:
    """Return the socket of the engine that the service has loaded for a model."""
    with Client() as client:
        engines = client.status()["engines"]
    [socket] = [e["socket"] for e in engines if e["model"].startswith(model)]
    return Path(socket)


def in_turns(
    ways: Sequence[Way], rounds: int, bodies: Callable[[Way, int], list[dict[str, Any]]]
) -> list[dict[str, list[Run]]]:
    """Return the streams of each round by way; who is first goes round, a round before warms up."""
    turns = []
    for number in range(rounds + 1):
        start = number % len(ways)
        runs: dict[str, list[Run]] = {}
        for way in (*ways[start:], *ways[:start]):
            runs[way.name] = asyncio.run(together(way, bodies(way, number)))
        if number:
            turns.append(runs)
    return turns


def firsts(turns: Sequence[dict[str, list[Run]]]) -> None:
    """Print the engine's time to the first token, and what each other way adds to it."""

    def millis(runs: Sequence[Run]) -> float:
        return statistics.mean(run.first for run in runs) * 1e3

    row("  engine, ms", [millis(turn["engine"]) for turn in turns])
    for name in ("service", "door"):
        row(f"  added by the {name}, ms", [millis(t[name]) - millis(t["engine"]) for t in turns])


def real(model: str, pairs: int, tokens: int, streams: int) -> None:
    """Compare the three ways to a real engine of the service, and print what they give."""
    client = _awake_service()
    client.load(model)
    manifest = Store().get(model)
    prompter = Prompter(Store().view(manifest), manifest)
    params = {**sampling({"temperature": 0.0}), "max_tokens": tokens}
    known = {"model": manifest.name.display, "stream": True, **params}
    known["stream_options"] = {"include_usage": True}

    def bodies(way: Way, number: int) -> list[dict[str, Any]]:
        prompts = [f"Write a long story about {number} and {n}." for n in range(streams)]
        if way.name != "engine":
            return [body_for(model, tokens, prompt) for prompt in prompts]
        return [{**known, "prompt": prompter.fit_prompt(text, 4096).ids} for text in prompts]

    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory() as place, jupyter_server(Path(place), token) as url:
        ways = [
            engine_way(loaded_engine(manifest.name.display)),
            service_way(socket_path()),
            door_way(url, token),
        ]
        turns = in_turns(ways, pairs, bodies)
    print(f"{pairs} turns of {streams} x {tokens} tokens of {model}")
    for way in ways:
        row(f"  {way.name}, tokens/s", [rate_of(turn[way.name]) for turn in turns])
    for way in ways[1:]:
        ratios = [rate_of(turn[way.name]) / rate_of(turn["engine"]) for turn in turns]
        row(f"  {way.name} / engine, ratio", ratios)
    print("time to the first token")
    firsts(turns)
    imports, attaches = attach_cost(pairs)
    row("attach of a second client, ms", attaches)
    row("  and its imports before, ms", imports)
    times, sizes = load_ext_cost(pairs)
    row("%load_ext, ms", times)
    row("%load_ext, MB", sizes)


def _awake_service() -> Client:
    """Start a service that lets no engine sleep: a request that goes past it would wake none.

    Raises SystemExit if one runs already, whose settings are not ours.
    """
    with contextlib.suppress(ServiceError), Client(start=False) as running:
        running.version()
        raise SystemExit("A service is running: end it with `hyperllama stop`, and begin again.")
    os.environ["HYPERLLAMA_SLEEP_AFTER"] = "-1"
    return Client()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a real engine of a service, with this model")
    parser.add_argument("--streams", type=int, default=1, help="with --model: that many at once")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--seconds", type=float, default=30, help="of each profile")
    args = parser.parse_args()
    if args.profile:
        profile(args.seconds)
    elif args.model:
        real(args.model, args.pairs, args.tokens, args.streams)
    else:
        scripted(args.pairs)


if __name__ == "__main__":
    main()
