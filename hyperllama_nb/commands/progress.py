"""How far a pull or a load is, as one line that changes."""

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from hyperllama_nb.display.tables import human_bytes, human_duration

if TYPE_CHECKING:
    from hyperllama_nb.display.sinks import Sink

WINDOW = 5.0
"""Seconds over which the rate of a download is taken."""
FILE_INTERVAL = 4.0
"""Seconds between two lines where nothing can be rewritten: a log, a pipe."""


class Progress:
    """Shows the lines of a pull or a load in a sink; use it with `with`."""

    def __init__(
        self, sink: "Sink", *, rewrites: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sink = sink
        self._rewrites = rewrites
        self._clock = clock
        self._download = Download(clock)
        self._status = ""
        self._told = -FILE_INTERVAL

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sink.finish()

    def update(self, line: Mapping[str, Any]) -> None:
        """Show one line of the service's answer."""
        text = self._download.describe(line) if line.get("total") else describe(line)
        if self._rewrites:
            self._sink.status(text)
            return
        # Without a terminal each line stays, so a step that is long is told now and then only.
        now = self._clock()
        if line.get("status") != self._status or now - self._told >= FILE_INTERVAL:
            self._status, self._told = str(line.get("status")), now
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


class Download:
    """Turns byte counts into amount, rate and time left."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._part: str | None = None
        self._seen: deque[tuple[float, int]] = deque()

    def describe(self, line: Mapping[str, Any]) -> str:
        """Return a line such as `pulling 2af3b81862c6: 12 MB of 93.4 MB, 8.1 MB/s, 10 s left`."""
        total, done, now = int(line["total"]), int(line.get("completed") or 0), self._clock()
        part = line.get("digest") or line.get("status")
        if part != self._part:
            self._part = part
            self._seen.clear()
        self._seen.append((now, done))
        while now - self._seen[0][0] > WINDOW:
            self._seen.popleft()
        text = f"{line.get('status', 'pulling')}: {human_bytes(done)} of {human_bytes(total)}"
        span, gained = now - self._seen[0][0], done - self._seen[0][1]
        if done >= total or span <= 0 or gained <= 0:
            return text
        left = human_duration((total - done) * span / gained)
        return f"{text}, {human_bytes(gained / span)}/s, {left} left"


def describe(line: Mapping[str, Any]) -> str:
    """Return the text of a line that has no byte counts."""
    status = str(line.get("status", ""))
    parts = [status]
    if status == "loading":
        parts = [f"loading {line['model']}", str(line.get("message") or line.get("phase"))]
    elif status == "queued":
        parts = [f"waiting for {line['model']}", f"position {line['position']}"]
    if line.get("elapsed") is not None:
        parts.append(human_duration(line["elapsed"]))
    return ", ".join(part for part in parts if part)
