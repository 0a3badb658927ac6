"""What the service adds to an engine: tokens per second, time to first token, attach, start.

Run it on an otherwise idle machine: `python benchmarks/overhead.py [--pairs 20]`. Both sides run
alternately within one process, so that slow phases of the machine meet them alike.
"""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hyperllama_nb import Client
from hyperllama_nb.engines.openai import Wire, sampling
from hyperllama_nb.models.store import Store
from hyperllama_nb.service.prompt import Prompter

RESAMPLES = 10_000


@dataclass
class Run:
    """One generation: seconds to the first token, and tokens a second from the first on."""

    first: float
    rate: float


def through_service(client: Client, model: str, prompt: str, options: dict[str, object]) -> Run:
    started = time.perf_counter()
    first = last = started
    stream = client.generate(model, prompt, stream=True, options=options)
    count = 0
    for chunk in stream:
        if chunk.response:
            last = time.perf_counter()
            if not count:
                first = last
            count += 1
    tokens = stream.response.usage.output_tokens
    return Run(first - started, (tokens - 1) / (last - first))


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
    [engine] = [e for e in client.status()["engines"] if e["model"] == args.model]
    manifest = Store().get(args.model)
    prompter = Prompter(Store().view(manifest), manifest)
    options: dict[str, object] = {"temperature": 0, "num_predict": args.tokens}
    params = {**sampling({"temperature": 0.0}), "max_tokens": args.tokens}
    prompts = [f"Write a long story about the number {n}." for n in range(args.pairs + 1)]

    pairs: list[tuple[Run, Run]] = []
    for number, prompt in enumerate(prompts):
        ids = prompter.fit_prompt(prompt, 4096).ids
        # Who goes first alternates too: the second of a pair finds the prompt in the prefix cache.
        sides = [
            lambda ids=ids: at_engine(Path(engine["socket"]), args.model, ids, params),
            lambda prompt=prompt: through_service(client, args.model, prompt, options),
        ]
        order = (0, 1) if number % 2 else (1, 0)
        runs = {side: sides[side]() for side in order}
        if number:  # the first pair warms up
            pairs.append((runs[0], runs[1]))

    print(f"{args.pairs} alternating pairs of {args.tokens} tokens, median [95 % interval]")
    print(f"engine, tokens/s                    {interval([raw.rate for raw, _ in pairs])}")
    print(f"service, tokens/s                   {interval([our.rate for _, our in pairs])}")
    print(f"ratio service / engine, tokens/s    {interval([o.rate / r.rate for r, o in pairs])}")
    added = [(our.first - raw.first) * 1e3 for raw, our in pairs]
    print(f"engine, time to first token, ms     {interval([r.first * 1e3 for r, _ in pairs])}")
    print(f"added time to first token, ms       {interval(added)}")
    imports, attaches = attach_cost(args.pairs)
    print(f"attach of a second client, ms       {interval(attaches)}")
    print(f"  and its imports before, ms        {interval(imports)}")
    times, sizes = load_ext_cost(args.pairs)
    print(f"%load_ext, ms                       {interval(times)}")
    print(f"%load_ext, MB                       {interval(sizes)}")


if __name__ == "__main__":
    main()
