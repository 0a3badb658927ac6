"""How fast the engines are on a CPU: MAX's two and llama.cpp, on the same weights, taking turns.

usage: cpu.py [--rounds N] [--starts N] [--cold] [--native LLAMA_SERVER] [--only WORD]

All engines are loaded and held still (SIGSTOP) while another one is measured. In each round each
engine, in a new order, generates 128 tokens for 1, 4 and 8 streams, reads a prompt of 900 tokens,
and begins an answer to one of 10. Tables: median (least to most), then the ratio to a reference by
rounds. The roofline is what two threads read from memory in a second over the bytes of weights that
a token needs. Nothing else may run meanwhile.
"""

import argparse
import asyncio
import concurrent.futures
import contextlib
import random
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from contenders import Contender, Running, contenders, full_file, running
from streams import rate_of, together
from tokenizers import Tokenizer

from hyperllama_nb.models import Store

TEXT = Path(__file__).with_name("text.txt")

TOKENS = 128
LONG, SHORT = 900, 10
STREAMS = (1, 4, 8)

Figures = dict[str, dict[str, list[float]]]
"""By contender and by column, one number a round."""


class Prompts:
    """Beginnings of sentences that no cache has seen: each starts with other tokens."""

    def __init__(self, model: str, seed: int) -> None:
        store = Store()
        path = store.view(store.get(model)) / "tokenizer.json"
        self._tokenizer = Tokenizer.from_file(str(path))
        self._ids: list[int] = self._tokenizer.encode(TEXT.read_text("utf-8")).ids
        self._random = random.Random(seed)

    def take(self, length: int) -> tuple[list[int], str]:
        """Return so many token ids and their text."""
        start = self._random.randrange(len(self._ids) - length // 2)
        turned = self._ids[start:] + self._ids[:start]
        fresh = self._random.sample(self._ids, min(4, length))
        ids = (fresh + turned * 2)[:length]
        return ids, self._tokenizer.decode(ids)


async def measure(engine: Running, prompts: Prompts) -> dict[str, float]:
    """Return one round's figures of an engine."""
    found: dict[str, float] = {}
    for streams in STREAMS:
        given = [prompts.take(SHORT) for _ in range(streams)]
        runs = await together(engine.way, [engine.body(*one, TOKENS) for one in given])
        found[f"{streams} stream{'s' * (streams > 1)}, tok/s"] = rate_of(runs)
    [run] = await together(engine.way, [engine.body(*prompts.take(LONG), 1)])
    found[f"prefill of {LONG}, tok/s"] = LONG / run.first
    firsts = [
        (await together(engine.way, [engine.body(*prompts.take(SHORT), 1)]))[0].first
        for _ in range(3)
    ]
    found["first token, ms"] = 1e3 * statistics.median(firsts)
    return found


def bandwidth(threads: int = 2, size: int = 1 << 28) -> float:
    """Return the bytes a second that `threads` threads read from memory, the best of twenty.

    The largest number is sought: of NumPy's ways to read an array, the one that computes least.
    """
    parts = [np.ones(size // 8 // threads) for _ in range(threads)]
    best = 0.0
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for _ in range(20):
            began = time.perf_counter()
            list(pool.map(np.max, parts))
            best = max(best, size / (time.perf_counter() - began))
    return best


async def starts(found: Sequence[Contender], times: int, rng: random.Random) -> Figures:
    """Return the seconds from a launch to the first token, in turns.

    Each engine is started once before: what that start compiles, later ones find.
    """
    figures: Figures = defaultdict(lambda: defaultdict(list))
    for turn in range(times + 1):
        for contender in rng.sample(found, len(found)):
            async with running(contender) as engine:
                if turn:
                    figures[contender.name]["warm start, s"].append(engine.seconds)
    return figures


async def cold(found: Sequence[Contender]) -> Figures:
    """Return the seconds of a first start, with nothing compiled; once each, engines of MAX."""
    figures: Figures = defaultdict(lambda: defaultdict(list))
    for contender in found:
        if contender.backend == "max" and not contender.service:
            place = Path(tempfile.mkdtemp(prefix="hlb"))
            async with running(contender, cache=place) as engine:
                figures[contender.name]["cold start, s"].append(engine.seconds)
            shutil.rmtree(place)
    return figures


async def rounds(
    found: Sequence[Contender], count: int, prompts: Prompts, rng: random.Random
) -> Figures:
    """Return the figures of `count` rounds."""
    figures: Figures = defaultdict(lambda: defaultdict(list))
    async with contextlib.AsyncExitStack() as stack:
        engines = []
        # A service that starts clears away what it did not launch: it comes first.
        for contender in sorted(found, key=lambda one: not one.service):
            engine = await stack.enter_async_context(running(contender))
            await measure(engine, prompts)
            engine.hold()
            engines.append(engine)
        for number in range(count):
            for engine in rng.sample(engines, len(engines)):
                engine.let_go()
                for column, value in (await measure(engine, prompts)).items():
                    figures[engine.contender.name][column].append(value)
                engine.hold()
            print(f"round {number + 1} of {count}", flush=True)
        for engine in engines:
            engine.let_go()
    return figures


def told(values: Sequence[float]) -> str:
    """Return the median and the range."""
    middle, digits = statistics.median(values), 2 if max(values) < 20 else 0
    return f"{middle:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(figures: Figures, title: str) -> None:
    """Print a table in Markdown."""
    columns = list(dict.fromkeys(column for found in figures.values() for column in found))
    print(f"\n| {title} | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    for name, found in figures.items():
        cells = [told(found[column]) if column in found else "" for column in columns]
        print(f"| {name} | {' | '.join(cells)} |")


def ratios(figures: Figures, reference: str) -> Figures:
    """Return each engine's figures over the reference's, round by round."""
    base = figures[reference]
    return {
        name: {
            column: [a / b for a, b in zip(values, base[column], strict=True)]
            for column, values in found.items()
        }
        for name, found in figures.items()
        if name != reference
    }


def roofline(figures: Figures, found: Sequence[Contender], read: float) -> None:
    """Print what part of the memory's speed one stream uses."""
    store = Store()
    print(f"\n| roofline: {read / 1e9:.0f} GB/s | MB a token | ceiling, tok/s | reached |")
    print("|---|---|---|---|")
    for contender in found:
        manifest = store.get(contender.model)
        size = contender.source.stat().st_size if contender.source else manifest.weights_size
        rate = statistics.median(figures[contender.name]["1 stream, tok/s"])
        ceiling = read / size
        print(f"| {contender.name} | {size / 1e6:.0f} | {ceiling:.0f} | {rate / ceiling:.0%} |")


async def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    rng, full = random.Random(args.seed), full_file(args.plain)
    try:
        found = [
            one
            for one in contenders(args.plain, args.packed, args.native, full)
            if args.only in one.name
        ]
        prompts = Prompts(args.packed, args.seed)
        if args.cold:
            table(await cold(found), "cold")
        if args.starts:
            table(await starts(found, args.starts, rng), "warm")
        if not args.rounds:
            return
        read = bandwidth()
        figures = await rounds(found, args.rounds, prompts, rng)
        table(figures, f"{args.rounds} rounds")
        for reference in (name for name in figures if name.startswith("llama.cpp")):
            table(ratios(figures, reference), f"ratio to {reference}")
        roofline(figures, found, max(read, bandwidth()))
    finally:
        shutil.rmtree(full.parent)


def main() -> None:
    """Read the command line and measure."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6, help="0 measures starts alone")
    parser.add_argument("--starts", type=int, default=3, help="warm starts of each engine")
    parser.add_argument("--cold", action="store_true", help="also first starts, of minutes")
    parser.add_argument("--native", metavar="LLAMA_SERVER", help="one built for this machine")
    parser.add_argument("--only", default="", metavar="WORD", help="engines with it in their names")
    parser.add_argument("--plain", default="smollm2:135m")
    parser.add_argument("--packed", default="smollm2:135m-q4_0")
    parser.add_argument("--seed", type=int, default=0)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
