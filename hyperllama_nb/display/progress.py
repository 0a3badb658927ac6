"""Words for what a caller waits for: a download, a model that loads, a place in a queue."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from hyperllama_nb.display.sinks import Sink, choose_sink
from hyperllama_nb.display.tables import human_bytes, human_duration

_WINDOW = 5.0
"""Seconds over which a download's rate is averaged."""


class Progress:
    """Turns the service's progress lines into one line of text that goes on with the clock."""

    def __init__(
        self, waiting: str = "Waiting", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._waiting, self._clock = waiting, clock
        self._begun = self._told = clock()
        self._last: Mapping[str, Any] = {}
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, line: Mapping[str, Any]) -> str:
        """Take a line of the service and return the text to show now."""
        now = self._clock()
        if line.get("digest") != self._last.get("digest"):
            self._seen.clear()
        if line.get("completed") is not None:
            self._seen.append((now, int(line["completed"])))
            while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW:
                self._seen.popleft()
        self._last, self._told = line, now
        return self.text()

    def text(self) -> str:
        """Return the text to show now."""
        now, line = self._clock(), self._last
        since = now - self._told
        match line.get("status"):
            case None:
                return f"{self._waiting}, {_whole(now - self._begun)}"
            case "loading":
                what = line.get("message") or line.get("phase") or "starting"
                elapsed = _whole(float(line.get("elapsed") or 0) + since)
                return f"Loading {line.get('model')}: {what}, {elapsed}"
            case "queued":
                elapsed = _whole(float(line.get("elapsed") or 0) + since)
                place = f"place {line['position']} in" if line.get("position") else "in"
                return f"Waiting for {line.get('model')}: {place} its queue, {elapsed}"
            case status if line.get("elapsed") is not None:
                elapsed = _whole(float(line["elapsed"]) + since)
                what = str(line.get("message") or status)
                # A stage may say what the status says, and more.
                said = what if what.startswith(str(status)) else f"{status}: {what}"
                return f"{said}, {elapsed}"
            case status if line.get("completed") is not None or line.get("total"):
                return f"{status}: {self._bytes()}"
            case status:
                return f"{status}, {_whole(since)}" if since >= 1 else str(status)

    @property
    def done(self) -> int:
        """Return the bytes of the present part that are here; 0 where nothing is counted."""
        return int(self._last.get("completed") or 0)

    @property
    def total(self) -> int | None:
        """Return the bytes of the present part; None where unknown."""
        return int(self._last.get("total") or 0) or None

    @property
    def rate(self) -> float | None:
        """Return the bytes a second of the last seconds; None where nothing came."""
        if len(self._seen) < 2:
            return None
        (begin, first), (end, last) = self._seen[0], self._seen[-1]
        return (last - first) / (end - begin) if end > begin and last > first else None

    @property
    def left(self) -> float | None:
        """Return the seconds until the present part is here at this rate; None where unknown."""
        if self.total is None or self.rate is None or self.done >= self.total:
            return None
        return max(1.0, (self.total - self.done) / self.rate)

    def reached(self) -> str:
        """Return how far a download is, as words to append; nothing where no bytes are counted."""
        if self.total is None:
            return ""
        return f", {human_bytes(self.done)} of {human_bytes(self.total)} fetched"

    def _bytes(self) -> str:
        text = human_bytes(self.done)
        if self.total is not None:
            text += f" of {human_bytes(self.total)} ({self.done * 100 // self.total} %)"
        if self.rate is not None and (self.total is None or self.done < self.total):
            text += f", {human_bytes(self.rate)}/s"
        if self.left is not None:
            text += f", {human_duration(self.left)} left"
        return text


class Waiting:
    """Shows what a call without a sink of its own waits for; leaves a line that tells how long.

    An instance serves all threads. Nothing is shown for a call that does not wait.
    """

    def __init__(self, sink: Callable[[], Sink] = choose_sink) -> None:
        self._make = sink
        self._local = threading.local()

    def __call__(self, line: Mapping[str, Any]) -> None:
        """Take a progress line, or `{"done": True}` at the end."""
        shown: tuple[Sink, Progress, float] | None = getattr(self._local, "shown", None)
        if line.get("done"):
            self._local.shown = None
            if shown is not None:
                sink, _, begun = shown
                sink.finish(f"Waited {human_duration(time.monotonic() - begun)} for the model.")
            return
        if shown is None:
            shown = self._local.shown = (self._make(), Progress(), time.monotonic())
        sink, progress, _ = shown
        sink.status(progress.update(line))


def _whole(seconds: float) -> str:
    return f"{int(seconds)} s" if seconds < 60 else human_duration(seconds)
