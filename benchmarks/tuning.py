"""What the lean engine's settings give: one variant at a time, in turns, each in a new process.

usage: tuning.py [--rounds N] [--model NAME]

Variants change one thing: the size of a page of the cache, or MAX's compute threads, bound to a
core each. (Another number of threads cannot be had: `InferenceSession(num_threads=…)` aborts.)
Every variant makes tokens for 1 and 8 sequences, at the beginning of the context and far into it,
and reads a prompt of 900 tokens, what is shipped in parts of several sizes. The last rows let
another process compute for a while after each token, as a service and a client do: what a step
then takes longer, over that while, tells how many of the threads stand still for it.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

CONTEXT, SLOTS, FAR, LONG = 4096, 8, 3072, 900
PARTS = (128, 256, 512, 896)
TAKEN = (0, 100, 200, 400)
"""Microseconds of another process's work after each token."""

TURNS = 16

VARIANTS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "page of 64": {"page": 64},
    "page of 256": {"page": 256},
    "threads bound": {"bound": True},
}


def build(directory: Path, page: int | None) -> Any:
    """Return the model with another size of pages."""
    from hyperllama_nb.engines.max.lean import base

    base.PAGE = page or base.PAGE
    from hyperllama_nb.engines.max.lean.model import LlamaModel

    return LlamaModel(directory, context=CONTEXT, slots=SLOTS)


def bind() -> None:
    """Give each of MAX's compute threads one core."""
    tasks = list(Path("/proc/self/task").iterdir())
    compute = [task for task in tasks if "Thread" in (task / "comm").read_text()]
    cores = sorted(os.sched_getaffinity(0))
    for number, task in enumerate(sorted(compute, key=lambda one: int(one.name))):
        os.sched_setaffinity(int(task.name), {cores[number % len(cores)]})


def steps(model: Any, rows: int, start: int, count: int, after: Callable[[], None]) -> float:
    """Return the seconds of a step that makes one token for each of so many sequences."""
    from hyperllama_nb.engines.max.lean.base import Row

    times = []
    for number in range(count):
        began = time.perf_counter()
        model.forward([Row(slot, start + number, [1000 + slot]) for slot in range(rows)])
        times.append(time.perf_counter() - began)
        after()
    return statistics.median(times[count // 4 :])


def prefill(model: Any, part: int) -> float:
    """Return the tokens a second of a prompt that is read in parts of so many."""
    from hyperllama_nb.engines.max.lean.base import Row

    tokens = [1000 + 7 * place for place in range(LONG)]
    began = time.perf_counter()
    for start in range(0, LONG, part):
        model.forward([Row(0, start, tokens[start : start + part])])
    return LONG / (time.perf_counter() - began)


class Taker:
    """Another process, which computes for a while whenever it is told to."""

    def __init__(self) -> None:
        loop = "import sys,time\nfor line in sys.stdin:\n e=time.perf_counter()+int(line)/1e6\n"
        loop += " while time.perf_counter()<e: pass\n"
        self._process = subprocess.Popen(
            [sys.executable, "-c", loop], stdin=subprocess.PIPE, text=True, bufsize=1
        )

    def take(self, micros: int) -> None:
        """Let it compute for so long, and do not wait for it."""
        assert self._process.stdin is not None
        if micros:
            self._process.stdin.write(f"{micros}\n")

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def taken(model: Any) -> dict[str, float]:
    """Return the milliseconds of a step beside another process's work, in many short turns."""
    taker, times = Taker(), defaultdict(list)
    for _ in range(TURNS):
        for micros in random.sample(TAKEN, len(TAKEN)):
            took = steps(model, 1, 32, 24, lambda micros=micros: taker.take(micros))  # type: ignore[misc]
            times[micros].append(1e3 * took)
    taker.close()
    return {f"{micros} µs taken, ms a step": statistics.median(times[micros]) for micros in TAKEN}


def child(directory: Path, variant: dict[str, Any]) -> dict[str, float]:
    """Measure a variant in this process."""
    model = build(directory, variant.get("page"))
    steps(model, 1, 32, 20, lambda: None)
    if variant.get("bound"):
        bind()
    found = {}
    for rows in (1, SLOTS):
        for name, start in (("early", 32), ("far", FAR)):
            took = steps(model, rows, start, 80 if rows == 1 else 40, lambda: None)
            found[f"{rows} rows, {name}, tok/s"] = rows / took
    if variant:
        found[f"prefill in {PARTS[1]}, tok/s"] = prefill(model, PARTS[1])
        return found
    for part in random.sample(PARTS, len(PARTS)):
        found[f"prefill in {part}, tok/s"] = prefill(model, part)
    found.update(taken(model))
    return found


def measured(directory: Path, name: str) -> dict[str, float]:
    """Measure a variant in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", name, "--directory", str(directory)],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def told(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--model", default="smollm2:135m-q4_0")
    parser.add_argument("--child", choices=VARIANTS)
    parser.add_argument("--directory", type=Path)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(args.directory, VARIANTS[args.child])))
        return
    from hyperllama_nb.models import Store

    store = Store()
    directory = store.view(store.get(args.model))
    for name in VARIANTS:
        measured(directory, name)  # what is not compiled yet is compiled now
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(args.rounds):
        for name in random.sample(list(VARIANTS), len(VARIANTS)):
            for column, value in measured(directory, name).items():
                found[name][column].append(value)
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
    shipped = found["as shipped"]
    for column, values in shipped.items():
        print(f"{column:<28}{told(values)}")
    print("ratios to what is shipped, by rounds")
    for name, columns in found.items():
        for column, values in columns.items() if name != "as shipped" else ():
            ratio = [a / b for a, b in zip(values, shipped[column], strict=True)]
            print(f"{name:<16}{column:<28}{told(ratio)}")


if __name__ == "__main__":
    main()
