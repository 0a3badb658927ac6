"""What the service and the Jupyter door add to an engine, and what a client costs to begin.

Run it on an otherwise idle machine: `python benchmarks/overhead.py [--pairs 20]`. The three ways
take turns within one process, so that slow phases of the machine meet them alike: straight to the
engine's socket, through the service's socket, and through a Jupyter server on loopback.
"""

import argparse
import asyncio
import json
import random
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from door import jupyter_server

from hyperllama_nb import Client
from hyperllama_nb.engines.openai import Wire, sampling
from hyperllama_nb.models.store import Store
from hyperllama_nb.runtime import socket_path
from hyperllama_nb.service.prompt import Prompter

RESAMPLES = 10_000

WAYS = ("engine", "service", "door")


@dataclass
class Run:
    """One generation: seconds to the first token, and tokens a second from the first on."""

    first: float
    rate: float


def through_http(http: httpx.Client, model: str, prompt: str, options: dict[str, Any]) -> Run:
    body = {"model": model, "prompt": prompt, "options": options}
    started = time.perf_counter()
    first = last = started
    count = 0
    final: dict[str, Any] = {}
    rest = b""
    with http.stream("POST", "/api/generate", json=body) as answer:
        answer.raise_for_status()
        for data in answer.iter_raw():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                final = json.loads(line)
                if final["response"]:
                    last = time.perf_counter()
                    if not count:
                        first = last
                    count += 1
    return Run(first - started, (final["eval_count"] - 1) / (last - first))


def at_engine(socket: Path, model: str, ids: Sequence[int], params: dict[str, object]) -> Run:
    async def run() -> Run:
        wire = Wire(socket)
        started = time.perf_counter()
        first = last = started
        count = tokens = 0
        async for event in wire.stream(ids, {"model": model, **params}):
            if event.text:
                last = time.perf_counter()
                if not count:
                    first = last
                count += 1
            tokens = event.output_tokens or tokens
        return Run(first - started, (tokens - 1) / (last - first))

    return asyncio.run(run())


def interval(
    values: Sequence[float], statistic: Callable[[Sequence[float]], float] = statistics.median
) -> str:
    """Return the statistic with its 95 % percentile-bootstrap interval over the pairs."""
    rng = random.Random(0)
    spread = sorted(statistic(rng.choices(values, k=len(values))) for _ in range(RESAMPLES))
    low, high = spread[int(0.025 * RESAMPLES)], spread[int(0.975 * RESAMPLES)]
    return f"{statistic(values):.4g} [{low:.4g}, {high:.4g}]"


def attach_cost(rounds: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of a fresh process: its imports, then attach and first answer."""
    script = (
        "import time, json; t = time.perf_counter()\n"
        "import httpx, hyperllama_nb.client\n"
        "imported = time.perf_counter()\n"
        "hyperllama_nb.client.Client().ps()\n"
        "done = time.perf_counter()\n"
        "print(json.dumps([(imported - t) * 1e3, (done - imported) * 1e3]))"
    )
    imports, attaches = zip(*(measured(script) for _ in range(rounds)), strict=True)
    return list(imports), list(attaches)


def measured(script: str) -> tuple[float, float]:
    """Return the two numbers that a script in a new interpreter prints last."""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    first, second = json.loads(done.stdout.splitlines()[-1])
    return first, second


def load_ext_cost(rounds: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds and megabytes that `%load_ext` takes in a warm interpreter."""
    script = (
        "import time, psutil, json\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "shell.run_cell('1')\n"
        "me = psutil.Process(); before = me.memory_info().rss; t = time.perf_counter()\n"
        "shell.run_line_magic('load_ext', 'hyperllama_nb')\n"
        "took = (time.perf_counter() - t) * 1e3\n"
        "print(json.dumps([took, (me.memory_info().rss - before) / 1e6]))"
    )
    times, sizes = zip(*(measured(script) for _ in range(rounds)), strict=True)
    return list(times), list(sizes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2:135m")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=128)
    args = parser.parse_args()

    client = Client()
    client.load(args.model)
    token = secrets.token_hex(16)
    with (
        tempfile.TemporaryDirectory() as place,
        jupyter_server(Path(place), token) as url,
        httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket_path())), base_url="http://service"
        ) as service,
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as door,
    ):
        service.timeout = door.timeout = httpx.Timeout(120)
        turns = compare(client, service, door, args.model, args.pairs, args.tokens)
    report(turns, args.tokens)
    imports, attaches = attach_cost(args.pairs)
    print(f"attach of a second client, ms       {interval(attaches)}")
    print(f"  and its imports before, ms        {interval(imports)}")
    times, sizes = load_ext_cost(args.pairs)
    print(f"%load_ext, ms                       {interval(times)}")
    print(f"%load_ext, MB                       {interval(sizes)}")


def compare(
    client: Client, service: httpx.Client, door: httpx.Client, model: str, rounds: int, tokens: int
) -> list[dict[str, Run]]:
    """Return the runs of each round, one a way; a round before them warms up."""
    [engine] = [e for e in client.status()["engines"] if e["model"] == model]
    manifest = Store().get(model)
    prompter = Prompter(Store().view(manifest), manifest)
    options: dict[str, Any] = {"temperature": 0, "num_predict": tokens}
    params = {**sampling({"temperature": 0.0}), "max_tokens": tokens}
    socket = Path(engine["socket"])
    turns: list[dict[str, Run]] = []
    for number in range(rounds + 1):
        prompt = f"Write a long story about the number {number}."
        ids = prompter.fit_prompt(prompt, 4096).ids
        # Who is first finds no prefix in the cache, so the order goes round.
        order = [WAYS[(number + turn) % len(WAYS)] for turn in range(len(WAYS))]
        runs: dict[str, Run] = {}
        for way in order:
            if way == "engine":
                runs[way] = at_engine(socket, model, ids, params)
            else:
                runs[way] = through_http(
                    service if way == "service" else door, model, prompt, options
                )
        if number:
            turns.append(runs)
    return turns


def report(turns: list[dict[str, Run]], tokens: int) -> None:
    print(f"{len(turns)} rounds of {tokens} tokens, median [95 % interval]")
    for way in WAYS:
        print(f"{way + ', tokens/s':<36}{interval([runs[way].rate for runs in turns])}")
    for way in WAYS[1:]:
        ratios = [runs[way].rate / runs["engine"].rate for runs in turns]
        print(f"{f'ratio {way} / engine, tokens/s':<36}{interval(ratios)}")
    firsts = [runs["engine"].first * 1e3 for runs in turns]
    print(f"{'engine, time to first token, ms':<36}{interval(firsts)}")
    for way in WAYS[1:]:
        added = [(runs[way].first - runs["engine"].first) * 1e3 for runs in turns]
        print(f"{f'added by the {way}, ms':<36}{interval(added)}")


if __name__ == "__main__":
    main()
