"""Whether our numbers are those of `max benchmark` and guidellm on the same server.

The tools take turns on one server, each with the same lengths of prompts and answers and as many
requests at a time; each turn gives a tool's medians. What is printed are medians over the rounds
and the ratio of two tools in a round, as a geometric mean with its 95 % interval (Student's t; the
bootstrap from eight rounds on). Run it on an otherwise idle machine.

    python benchmarks/agreement.py [--max PATH] [--guidellm PATH]     a FakeEngine, behind a tap
    python benchmarks/agreement.py … --model NAME                     a service's /v1, a real engine

PATH is the program in an environment of its own, in which nothing of ours has to be:

    python -m venv other/max && other/max/bin/pip install "max[benchmark]==26.7.*"
    python -m venv other/guidellm && other/guidellm/bin/pip install guidellm
    python benchmarks/agreement.py --max other/max/bin/max --guidellm other/guidellm/bin/guidellm

The tap notes when each token passes, so that a tool can be held against the wire, too.
"""

import argparse
import contextlib
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median

from loadtools import Numbers, Task, Tool, by_guidellm, by_max_benchmark, ours
from wiretap import Tap, tapped_engine

from hyperllama_nb import Client
from hyperllama_nb.bench.drive import Generator
from hyperllama_nb.bench.statistics import mean_interval
from hyperllama_nb.models import Store
from hyperllama_nb.testing import Script, tiny_model

MODEL = "tiny"
OURS = "hyperllama_nb"
MAX = "max benchmark"
GUIDELLM = "guidellm"

COMPARED = {
    MAX: {
        "ttft": "time to first token",
        "tpot": "time per output token",
        "itl": "inter-token latency, all gaps together",
    },
    GUIDELLM: {
        "tpot": "inter-token latency, one mean a request (its ITL)",
        "whole": "time per output token with the prompt in it (its TPOT)",
        "ttft": "time to first token",
    },
}
"""What we compute by the other tool's definition, and the name of it."""


@dataclass
class Rounds:
    """The numbers of each round by tool, and those of the wire in the same turns."""

    found: list[dict[str, Numbers]] = field(default_factory=list)
    wire: list[dict[str, Numbers]] = field(default_factory=list)


def run(tools: dict[str, Tool], task: Task, rounds: int, tap: Tap | None) -> Rounds:
    """Let the tools take turns; who begins goes round. Ctrl-C ends it after whole rounds."""
    done = Rounds()
    with contextlib.suppress(KeyboardInterrupt):
        for number in range(rounds):
            found, wire = one_round(tools, task, number, tap)
            done.found.append(found)
            done.wire.append(wire)
    return done


def one_round(
    tools: dict[str, Tool], task: Task, number: int, tap: Tap | None
) -> tuple[dict[str, Numbers], dict[str, Numbers]]:
    """Return the numbers of each tool, and those of the wire if there is a tap."""
    found: dict[str, Numbers] = {}
    wire: dict[str, Numbers] = {}
    names, start = list(tools), number % len(tools)
    for name in (*names[start:], *names[:start]):
        print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
        if tap is not None:
            tap.passages.clear()
        with tempfile.TemporaryDirectory() as place:
            found[name] = tools[name](task, number, Path(place))
        if tap is not None:
            wire[name] = passed(tap, task)
    return found, wire


def passed(tap: Tap, task: Task) -> Numbers:
    """Return the wire's medians of what a tool has just measured."""
    passages = sorted(tap.passages, key=lambda passage: passage.asked)
    if len(passages) != task.all:
        raise RuntimeError(f"{len(passages)} requests went by, and {task.all} were asked for.")
    measured = passages[task.warmup :]
    gaps = [
        after - before
        for passage in measured
        for before, after in zip(passage.texts, passage.texts[1:], strict=False)
    ]
    return {
        "ttft": median(passage.first for passage in measured),
        "tpot": median(passage.each for passage in measured),
        "itl": median(gaps),
        "whole": median(passage.whole for passage in measured),
    }


def tables(done: Rounds, script: Script | None) -> Iterator[str]:
    """Yield the lines of the tables: tool against tool, and each tool against the wire."""
    if not done.found:
        return
    others = [name for name in COMPARED if name in done.found[0]]
    yield "| other tool | number | ours, ms | theirs, ms | theirs / ours | theirs - ours, ms |"
    yield "|---|---|---|---|---|---|"
    for other in others:
        for number, label in COMPARED[other].items():
            pairs = [(found[OURS][number], found[other][number]) for found in done.found]
            yield f"| {other} | {label} | {row(pairs)} |"
    if not done.wire[0]:
        return
    yield ""
    if script is not None:
        yield (
            f"The script waits {script.delay_first * 1e3:g} ms before the first token, "
            f"{script.delay * 1e3:g} ms before each other one, and "
            f"{script.delay_end * 1e3:g} ms before the end."
        )
        yield ""
    yield "| tool | number | wire, ms | tool, ms | tool / wire | tool - wire, ms |"
    yield "|---|---|---|---|---|---|"
    labels = {"ttft": "time to first token", "tpot": "time per output token"}
    for name in (OURS, *others):
        for number, label in labels.items():
            rounds = zip(done.wire, done.found, strict=True)
            pairs = [(wire[name][number], found[name][number]) for wire, found in rounds]
            yield f"| {name} | {label} | {row(pairs)} |"


def row(pairs: Sequence[tuple[float, float]]) -> str:
    """Return both medians, the second's ratio to the first, and their mean difference."""
    logs = mean_interval([math.log(second / first) for first, second in pairs])
    ratio = "too few rounds"
    if logs is not None:
        low, high = math.exp(logs.low), math.exp(logs.high)
        ratio = f"{math.exp(logs.mean):.4f} [{low:.4f}, {high:.4f}]"
    first, second = (median(pair[side] for pair in pairs) * 1e3 for side in (0, 1))
    added = fmean(second - first for first, second in pairs) * 1e3
    return f"{first:.2f} | {second:.2f} | {ratio} | {added:+.2f}"


@contextmanager
def listening(model: str) -> Iterator[tuple[str, Callable[[str], int]]]:
    """Let a service answer on a free loopback port, with a model loaded.

    Gives the URL, and what counts the tokens of a text as the model does.
    """
    with Client() as client:
        client.load(model)
        with closing(client.serve(port=0)) as lines:
            address = next(iter(lines))["address"]
            yield f"http://{address}", lambda text: len(client.tokenize(model, text))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--max", type=Path, help="the program `max` with its benchmark")
    parser.add_argument("--guidellm", type=Path, help="the program `guidellm`")
    parser.add_argument("--model", help="a real engine of a service, with this model")
    parser.add_argument("--first", type=float, default=0.15, help="the script's first wait, s")
    parser.add_argument("--gap", type=float, default=0.02, help="the script's other waits, s")
    parser.add_argument("--end", type=float, default=0.0, help="its wait before the end, s")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--requests", type=int, default=8, help="in each turn")
    parser.add_argument("--warmup", type=int, default=2, help="before them")
    parser.add_argument("--prompt", type=int, default=64, help="tokens")
    parser.add_argument("--output", type=int, default=32, help="tokens")
    args = parser.parse_args()

    with Generator() as generator, tempfile.TemporaryDirectory() as place:
        tools = {OURS: ours(generator)}
        # Not resolved: an environment's program finds its packages by where its link is.
        if args.max:
            tools[MAX] = by_max_benchmark(args.max.absolute())
        if args.guidellm:
            tools[GUIDELLM] = by_guidellm(args.guidellm.absolute())
        if len(tools) == 1:
            parser.error("there is nothing to compare with: give --max or --guidellm")
        sizes = (args.prompt, args.output, args.requests, args.warmup, args.concurrency)
        if args.model:
            store = Store()
            with listening(args.model) as (url, count):
                task = Task(url, args.model, store.view(store.get(args.model)), *sizes, count)
                done, script = run(tools, task, args.rounds, None), None
        else:
            script = Script(
                (" word",), 1 << 20, delay_first=args.first, delay=args.gap, delay_end=args.end
            )
            with tapped_engine(script, MODEL) as (url, tap):
                task = Task(url, MODEL, tiny_model(Path(place, MODEL)), *sizes)
                done = run(tools, task, args.rounds, tap)
    print(
        f"{len(done.found)} rounds of {args.requests} requests, {args.concurrency} at a time, "
        f"{args.prompt} tokens in and {args.output} out, {args.model or 'a FakeEngine'}\n"
    )
    print("\n".join(tables(done, script)))


if __name__ == "__main__":
    main()
