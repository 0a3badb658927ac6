"""The sleep of an idle engine: its processes are stopped until something is asked of it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

AFTER = 2.0
"""Seconds without a request after which an engine that burns the processor for nothing sleeps."""


class Sleep:
    """Stops an engine while nobody is awake at it, and wakes it before anybody asks it anything.

    `tell` hands a word to the engine's guard, `stop` or `continue`, and returns whether it went.
    The guard obeys in order, so a request that follows a `continue` finds an engine that runs, or
    waits in its socket for the moment until it does. All methods belong to one event loop, in which
    the last request's end and the next one's beginning cannot overlap: there is no lock.
    """

    def __init__(self, tell: Callable[[str], bool]) -> None:
        self.asleep = False
        self._tell = tell
        self._after: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._present = 0
        self._timer: asyncio.TimerHandle | None = None

    def allow(self, after: float = AFTER) -> None:
        """Let the engine sleep from now on, after so many seconds without a request."""
        self._after, self._loop = after, asyncio.get_running_loop()
        self._rest()

    def forbid(self) -> None:
        """Let it sleep no more; a sleeping one stays as it is, for its guard to end."""
        self._after = None
        self._cancel()

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Keep the engine awake for the duration of the block."""
        self._present += 1
        self._cancel()
        if self.asleep:
            self.asleep = False
            self._tell("continue")
        try:
            yield
        finally:
            self._present -= 1
            self._rest()

    def _rest(self) -> None:
        """Count the time from now, if nobody is there."""
        if self._after is None or self._loop is None or self._present or self.asleep:
            return
        self._cancel()
        self._timer = self._loop.call_later(self._after, self._stop)

    def _stop(self) -> None:
        self._timer = None
        self.asleep = self._tell("stop")

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
