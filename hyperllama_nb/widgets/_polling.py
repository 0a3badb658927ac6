"""The thread that asks the service over and over, and bears that there is none."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from hyperllama_nb.display.cells import thread_here
from hyperllama_nb.errors import HyperLlamaError

FASTEST = 0.2
"""Seconds between two questions, at least."""

SLOW = 2.0
"""Seconds between two questions to a service that does not answer, at least."""


class Polling:
    """Asks in a thread of its own, from `start` to `stop` or until `duration` seconds are over.

    `ask` returns a snapshot or raises HyperLlamaError. `took` gets each snapshot, `missed` each
    error, `ended` nothing, once, when the time is over; all are called in the thread, which has the
    context of whoever started it, so that what they show belongs to that cell.
    """

    def __init__(
        self,
        ask: Callable[[], Mapping[str, Any]],
        *,
        interval: float,
        duration: float | None,
        took: Callable[[Mapping[str, Any]], None],
        missed: Callable[[HyperLlamaError], None],
        ended: Callable[[], None],
    ) -> None:
        self.interval = max(FASTEST, interval)
        self._ask, self._duration = ask, duration
        self._took, self._missed, self._ended = took, missed, ended
        self._stopping, self._going = threading.Event(), threading.Event()
        self._going.set()
        self.asked = threading.Condition()
        """Notified after each question."""
        self.count = 0
        self._thread = thread_here(self._run, name="monitor")

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    @property
    def paused(self) -> bool:
        """Tell whether it rests."""
        return not self._going.is_set()

    def pause(self) -> None:
        """Ask nothing until `resume`; the duration goes on."""
        self._going.clear()

    def resume(self) -> None:
        """Go on."""
        self._going.set()

    def stop(self) -> None:
        """End the thread; returns when it has ended, unless it is the thread that calls."""
        self._stopping.set()
        self._going.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def wait(self, count: int, timeout: float) -> None:
        """Wait until so many questions have been answered or refused, at most `timeout` seconds."""
        with self.asked:
            self.asked.wait_for(lambda: self.count >= count, timeout)

    def _run(self) -> None:
        end = None if self._duration is None else time.monotonic() + self._duration
        while not self._stopping.is_set():
            began = time.monotonic()
            if end is not None and began >= end:
                self._ended()
                return
            pause = self.interval if self._once() else max(SLOW, self.interval)
            with self.asked:
                self.count += 1
                self.asked.notify_all()
            self._stopping.wait(_left(began + pause, end))
            self._going.wait(None if end is None else _left(end))

    def _once(self) -> bool:
        try:
            snapshot = self._ask()
        except HyperLlamaError as error:
            self._missed(error)
            return False
        self._took(snapshot)
        return True


def _left(*ends: float | None) -> float:
    """Return the seconds until the first of some times."""
    return max(0.0, min(end for end in ends if end is not None) - time.monotonic())
