"""Where a process spends its CPU time: samples of it, grouped by the stages of a request.

The timer counts the CPU time of the process (ITIMER_PROF), so that waiting is not counted and
other processes do not matter. A sample belongs to the innermost function that has a stage.
"""

import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

INTERVAL = 0.001
"""Seconds of CPU time between two samples; the kernel's tick may be longer."""

STAGES = (
    ("write NDJSON", "service/wire:Lines service/wire:Stream service/wire:TextLine"),
    ("write NDJSON", "service/wire:now routes/generation: aiohttp/http_writer:"),
    ("write NDJSON", "aiohttp/web_response:"),
    ("parse", "service/wire: service/options: service/messages: service/checks: models/"),
    ("template, tokenise", "service/prompt: service/tokens: service/template: service/fitting:"),
    ("admission", "service/manager: service/admission: service/desks: service/changes:"),
    ("engine hop", "hyperllama_nb/engines/"),
    ("decode", "service/decode: service/run: service/running: service/generation: service/ask:"),
    ("decode", "service/parsing/ service/deadline: service/shift:"),
    ("HTTP in", "service/requests: service/gate: service/app: aiohttp/"),
)
"""Stages, and what the names of their functions (`path/module:qualified name`) contain."""

LOOP = "event loop"
"""The stage of what no function of a stage has called."""


def stage_of(function: str) -> str | None:
    """Return the stage of a function; None if it works for whoever calls it."""
    for stage, parts in STAGES:
        if any(part in function for part in parts.split()):
            return stage
    return None


@contextmanager
def sampled(path: Path) -> Iterator[None]:
    """Sample the main thread for the duration of the block, then write the counts to a file.

    The file is a JSON list of [stage, function, samples]. The counts begin anew at SIGUSR1.
    """
    counts: Counter[tuple[str, str]] = Counter()

    def sample(_: int, frame: FrameType | None) -> None:
        leaf = name_of(frame)
        stage = None
        while frame is not None and stage is None:
            stage = stage_of(name_of(frame))
            frame = frame.f_back
        counts[stage or LOOP, leaf] += 1

    signal.signal(signal.SIGPROF, sample)
    signal.signal(signal.SIGUSR1, lambda *_: counts.clear())
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        rows = [[*key, samples] for key, samples in counts.most_common()]
        path.write_text(json.dumps(rows), "utf-8")


def name_of(frame: FrameType | None) -> str:
    """Return the last parts of a function's path and its qualified name."""
    if frame is None:
        return "?"
    path = Path(frame.f_code.co_filename).with_suffix("")
    return f"{'/'.join(path.parts[-3:])}:{frame.f_code.co_qualname}"


def report(path: Path, most: int = 25) -> None:
    """Print the shares of the stages, and of the functions that took most, from such a file."""
    rows = json.loads(path.read_text("utf-8"))
    total = sum(samples for *_, samples in rows)
    stages: Counter[str] = Counter()
    for stage, _, samples in rows:
        stages[stage] += samples
    print(f"  {total} samples")
    for stage, samples in stages.most_common():
        print(f"  {samples / total:6.1%}  {stage}")
    print("  of these, by function")
    for stage, function, samples in rows[:most]:
        print(f"  {samples / total:6.1%}  {stage:<20}{function}")
