"""How much a request may carry, and how often and how much at once a caller may ask."""

import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hyperllama_nb.errors import RateLimitedError

MAX_BODY_BYTES = 32 << 20
"""A prompt of a million tokens takes about 4 MB; images in base64 are the reason for more."""

BODY_SECONDS = 120.0
"""Time for a whole body to arrive, so that nobody holds a connection with a byte a minute."""

MAX_HEADER_BYTES = 16 << 10
"""Of one header line, and of the request line."""

MAX_NESTING = 64
"""Objects and arrays within each other in a JSON body; a schema of a real program has about 20."""

_MINUTE = 60.0

# The possessive quantifier keeps this linear in the length of hostile text.
_TOKENS = re.compile(rb'"[^"]*+"?|[\[\]{}]')


def nested_too_deeply(body: bytes) -> bool:
    """Tell whether a JSON text nests deeper than `MAX_NESTING`, without parsing it.

    >>> nested_too_deeply(b"[" * 64), nested_too_deeply(b"[" * 65), nested_too_deeply(b'"[[["')
    (False, True, False)
    """
    if body.count(b"[") + body.count(b"{") <= MAX_NESTING:
        return False
    depth = 0
    # Without its escapes a string ends at the next quote, which `re` finds ten times as fast.
    body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    for match in _TOKENS.finditer(body):
        first = body[match.start()]
        if first in b"[{":
            depth += 1
            if depth > MAX_NESTING:
                return True
        elif first in b"]}":
            depth -= 1
    return False


class Usage:
    """Counts what callers do, for those whose key has limits; belongs to one thread.

    `clock` returns seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running: Counter[str] = Counter()
        self._times: dict[str, deque[float]] = {}

    @contextmanager
    def counted(
        self, caller: str, *, per_minute: int | None = None, concurrent: int | None = None
    ) -> Iterator[None]:
        """Count a request during the block; the limits are of any 60 seconds, and of any moment.

        Raises RateLimitedError, with the seconds after which another try can succeed. A refused
        request counts against nothing.
        """
        if concurrent is not None and self._running[caller] >= concurrent:
            raise RateLimitedError(
                f"This key may have {concurrent} requests running at once, and it has. Try again "
                "when one of them has ended."
            )
        if per_minute is not None:
            self._take(caller, per_minute)
        self._running[caller] += 1
        try:
            yield
        finally:
            self._running[caller] -= 1
            if not self._running[caller]:
                del self._running[caller]

    def _take(self, caller: str, per_minute: int) -> None:
        now = self._clock()
        self._forget(now)
        times = self._times.setdefault(caller, deque())
        if len(times) >= per_minute:
            wait = times[-per_minute] + _MINUTE - now
            raise RateLimitedError(
                f"This key may ask {per_minute} times a minute, and it has. Try again in "
                f"{wait:.0f} s.",
                retry_after=wait,
            )
        times.append(now)

    def _forget(self, now: float) -> None:
        """Drop the times that count no more, and the callers that have none left."""
        for caller, times in list(self._times.items()):
            while times and times[0] <= now - _MINUTE:
                times.popleft()
            if not times:
                del self._times[caller]
