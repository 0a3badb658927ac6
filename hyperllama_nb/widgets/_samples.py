"""What a monitor has seen: rates and gauges out of the service's snapshots, in bounded memory."""

import math
from collections import deque
from collections.abc import Mapping
from statistics import median
from typing import Any

from hyperllama_nb.display.charts import short, thin

WINDOWS = (60, 120, 300, 900)
"""Seconds that a figure can show; the longest is what is kept."""

POINTS = 600
"""Points of a trace, at most, whatever the window."""

SPAN = 1.0
"""Seconds over which a rate is taken: a few tokens come between two samples, which would jump."""

COLUMNS = (
    *("decode", "prompt", "first_token", "running", "queued", "batch", "cache"),
    *("cpu", "engine_cpu", "memory", "engine_memory", "gpu", "gpu_memory", "gpu_power"),
)

Point = dict[str, Any]
Numbers = dict[str, list[float | None]]


class Samples:
    """The points of the last 15 minutes.

    `decode` and `prompt` are tokens per second of all clients, as differences of the service's
    running totals over the last second (or two samples, where they are further apart);
    `first_token` is the mean time to the first token, in seconds, of the answers that began since
    the sample before. `running` and `queued` count requests, `batch` is the mean number of
    sequences that the engines compute at once, by their own metrics, `cache` the share of their
    KV caches in use. Shares are percent, those of processors of all cores; memory is bytes, power
    watts. `state` is the engines': `ready`, `loading`, `asleep`, `no engine`, or `not running` for
    the service itself. Unknown is None.
    """

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._points: deque[Point] = deque(maxlen=math.ceil(WINDOWS[-1] / interval))
        self._waits: deque[tuple[float, float]] = deque(maxlen=self._points.maxlen)
        self._before: deque[Mapping[str, Any]] = deque(maxlen=math.ceil(SPAN / interval) + 1)
        self._number = 0

    def __len__(self) -> int:
        return len(self._points)

    @property
    def last(self) -> Point | None:
        """Return the newest point."""
        return self._points[-1] if self._points else None

    def rows(self) -> list[Point]:
        """Return all points, the oldest first; each is a dict of its own."""
        return [{k: v for k, v in point.items() if k != "number"} for point in list(self._points)]

    def add(self, snapshot: Mapping[str, Any], time: float) -> None:
        """Take a snapshot of the service at a time (Unix seconds)."""
        before = self._before
        if before and before[-1]["service"] != snapshot["service"]:
            before.clear()
        if before and before[-1]["clock"] >= snapshot["clock"]:
            return  # the same one, which the service gives to all who ask at once
        old = [s for s in before if snapshot["clock"] - s["clock"] >= SPAN] or list(before)[:1]
        waits = _waits(before[-1] if before else None, snapshot)
        self._waits.extend((time, wait) for wait in waits)
        point = _rates(old[-1] if old else None, snapshot) | _gauges(snapshot)
        point["first_token"] = sum(waits) / len(waits) if waits else None
        self._append(time, _state(snapshot["engines"]), point)
        before.append(snapshot)

    def gap(self, time: float, state: str) -> None:
        """Note that nothing is known of a time, and why; what comes next is no difference to it."""
        self._before.clear()
        self._append(time, state, {})

    def waits(self, window: float) -> list[float]:
        """Return the times to the first token, in seconds, of the answers begun in a window."""
        last = self.last
        since = last["time"] - window if last else 0.0
        return [wait for time, wait in list(self._waits) if time >= since]

    def first_token(self, window: float) -> tuple[float | None, float | None]:
        """Return the median and the last time to the first token in a window, in seconds."""
        waits = self.waits(window)
        return (median(waits), waits[-1]) if waits else (None, None)

    def trace(self, window: float, most: int = POINTS) -> tuple[list[float], Numbers]:
        """Return the seconds before the newest point, from -window to 0, and a list per column.

        Longer lists than `most` are thinned to the means of neighbours, always of the same ones, so
        that a line does not change its form while it moves.
        """
        points = list(self._points)
        if not points:
            return [], {name: [] for name in COLUMNS}
        end = points[-1]["time"]
        points = [point for point in points if point["time"] > end - window]
        group = max(1, math.ceil(window / self.interval / most))
        skipped = -points[0]["number"] % group
        points = points[skipped:] if len(points) > skipped else points
        ages = [round(point["time"] - end, 2) for point in points[::group]]
        return ages[-most:], {
            name: [short(v) for v in thin([p[name] for p in points], group)][-most:]
            for name in COLUMNS
        }

    def _append(self, time: float, state: str, values: Mapping[str, float | None]) -> None:
        known = {name: values.get(name) for name in COLUMNS}
        self._points.append({"time": time, "state": state, **known, "number": self._number})
        self._number += 1


def _rates(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, float | None]:
    """Return what is a difference between two snapshots of one service."""
    if old is None:
        return {}
    seconds = new["clock"] - old["clock"]
    found: dict[str, float | None] = {}
    for column, name in (("decode", "output_tokens"), ("prompt", "prompt_tokens")):
        made = sum(
            tally[name] - old["models"].get(model, {name: 0})[name]
            for model, tally in new["models"].items()
        )
        # an engine that counts fewer tokens than it sent pieces takes some back at the end
        found[column] = max(0.0, made / seconds)
    then, now = old["machine"], new["machine"]
    if None not in (then["cpu_total"], now["cpu_total"], now["cpu_cores"]):
        whole = now["cpu_total"] - then["cpu_total"]
        if whole > 0:
            found["cpu"] = _percent(now["cpu_busy"] - then["cpu_busy"], whole)
        used = {engine["pid"]: engine["cpu_seconds"] for engine in old["engines"]}
        spent = sum(
            max(0.0, engine["cpu_seconds"] - used[engine["pid"]])
            for engine in new["engines"]
            if engine["pid"] in used
        )
        found["engine_cpu"] = _percent(spent, seconds * now["cpu_cores"])
    return found


def _gauges(snapshot: Mapping[str, Any]) -> dict[str, float | None]:
    """Return what a snapshot says by itself."""
    engines, machine = snapshot["engines"], snapshot["machine"]
    devices = machine["devices"]
    cached = [e for e in engines if e["cache_total"] and e["cache_used"] is not None]
    pages = sum(engine["cache_total"] for engine in cached)
    loads = [d["utilisation"] for d in devices if d["utilisation"] is not None]
    return {
        "running": _sum(engine["running"] for engine in engines),
        "queued": _sum(engine["queued"] for engine in engines),
        "batch": _sum(engine["batch"] for engine in engines),
        "cache": _percent(sum(e["cache_used"] for e in cached), pages) if pages else None,
        "memory": machine["memory_used"] or None,
        "engine_memory": _sum(engine["memory"] or 0 for engine in engines),
        "gpu": sum(loads) / len(loads) if loads else None,
        "gpu_memory": _sum(d["memory"] - d["free"] for d in devices) if devices else None,
        "gpu_power": _sum(d["power"] for d in devices) if devices else None,
    }


def _waits(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> list[float]:
    """Return the times to the first token that are new; of more than 64, the last of them."""
    if old is None:
        return []
    found: list[float] = []
    for model, tally in new["models"].items():
        fresh = (
            tally["first_tokens"] - old["models"].get(model, {"first_tokens": 0})["first_tokens"]
        )
        found += tally["waits"][-fresh:] if fresh > 0 else []
    return found


def _state(engines: list[Mapping[str, Any]]) -> str:
    states = [engine["state"] for engine in engines]
    if not states:
        return "no engine"
    return next((state for state in ("ready", "loading", "asleep") if state in states), states[0])


def _sum(values: Any) -> float | None:
    """Return the sum; None if one of the values is unknown."""
    found = list(values)
    return None if None in found else float(sum(found))


def _percent(part: float, whole: float) -> float:
    return max(0.0, min(100.0, 100 * part / whole))
