"""A monitor's numbers as text: one line for now, one table for a window."""

import sys
from collections.abc import Callable
from time import localtime, strftime

from hyperllama_nb.display.tables import Table, human_bytes, human_duration
from hyperllama_nb.widgets._samples import Numbers, Samples

STATES = {
    "asleep": "The engine is asleep until the next request.",
    "loading": "An engine is loading.",
    "no engine": "No model is loaded.",
    "not running": "No service answers. The first request starts one.",
    "paused": "Paused.",
}
"""What to say of a state in which no numbers come, or none are expected."""

Form = Callable[[float | None], str]


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} %"


def _power(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} W"


ROWS: tuple[tuple[str, str, Form], ...] = (
    ("decode", "decode, tokens/s", _count),
    ("prompt", "prompt, tokens/s", _count),
    ("first_token", "time to first token", human_duration),
    ("running", "requests running", _count),
    ("queued", "requests queued", _count),
    ("batch", "batch size", _count),
    ("cache", "KV cache in use", _share),
    ("cpu", "CPU, machine", _share),
    ("engine_cpu", "CPU, engines", _share),
    ("memory", "memory, machine", human_bytes),
    ("engine_memory", "memory, engines", human_bytes),
    ("gpu", "GPU", _share),
    ("gpu_memory", "GPU memory", human_bytes),
    ("gpu_power", "GPU power", _power),
)
"""Column, its name for people, and how its values are written."""


def line(samples: Samples, window: float) -> str:
    """Return the numbers of now in a sentence; what is unknown is left out."""
    last = samples.last
    if last is None:
        return "Waiting for the first numbers."
    middle, newest = samples.first_token(window)
    facts = [STATES.get(last["state"], "")]
    if last["decode"] is not None:
        facts.append(f"Decode {_count(last['decode'])}, prompt {_count(last['prompt'])} tokens/s.")
    if newest is not None:
        facts.append(
            f"First token after {human_duration(newest)} (median {human_duration(middle)})."
        )
    if last["running"] is not None:
        batch = "" if last["batch"] is None else f", batch {_count(last['batch'])}"
        facts.append(f"{last['running']:.0f} running, {last['queued']:.0f} queued{batch}.")
    if last["cache"] is not None:
        facts.append(f"KV cache {_share(last['cache'])}.")
    if last["cpu"] is not None:
        facts.append(f"CPU {_share(last['cpu'])} (engines {_share(last['engine_cpu'])}).")
    if last["memory"] is not None:
        engines = human_bytes(last["engine_memory"])
        facts.append(f"Memory {human_bytes(last['memory'])} (engines {engines}).")
    if last["gpu_memory"] is not None:
        power = "" if last["gpu_power"] is None else f", {_power(last['gpu_power'])}"
        facts.append(f"GPU {_share(last['gpu'])}, {human_bytes(last['gpu_memory'])}{power}.")
    return " ".join(filter(None, facts))


def title(samples: Samples, window: float, model: str | None) -> str:
    """Return what a static form is of: the model and the times between which it was watched."""
    what = f"Monitor of {model or 'all models'}"
    points = samples.rows()
    if not points:
        return f"{what}: nothing was seen"
    end = points[-1]["time"]
    start = max(points[0]["time"], end - window)
    clock = "%Y-%m-%d %H:%M:%S"
    return f"{what}, {strftime(clock, localtime(start))} to {strftime(clock[9:], localtime(end))}"


def summary(samples: Samples, window: float, model: str | None) -> str:
    """Return the last, mean and highest values of a window as a table, or why there are none."""
    name = title(samples, window, model)
    # the means of neighbours would hide the highest values
    _, numbers = samples.trace(window, sys.maxsize)
    rows = _rows(numbers)
    if rows:
        return str(Table(("", "last", "mean", "highest"), rows, title=name))
    last = samples.last
    why = STATES.get(last["state"], "The service told nothing.") if last else ""
    return f"{name}\n{why}".strip()


def _rows(numbers: Numbers) -> list[tuple[str, ...]]:
    rows = []
    for column, words, form in ROWS:
        known = [value for value in numbers[column] if value is not None]
        if known:
            found = (known[-1], sum(known) / len(known), max(known))
            rows.append((words, *map(form, found)))
    return rows
