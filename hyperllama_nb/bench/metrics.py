"""Metrics of single requests, each with its formula; None where it is unknown.

t0 is when the request was sent, t1 when the first non-empty text arrived, tn when the last one did,
N the number of output tokens that the service counted. Clocks are the client's.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Run:
    """One request; times in seconds of a monotonic clock, counts in tokens."""

    sent: float
    first: float | None
    last: float | None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def latency(self) -> float | None:
        """Return tn - t0, in seconds."""
        return None if self.last is None else self.last - self.sent

    @property
    def time_to_first_token(self) -> float | None:
        """Return t1 - t0, in seconds."""
        return None if self.first is None else self.first - self.sent

    @property
    def decode_rate(self) -> float | None:
        """Return (N - 1) / (tn - t1), in tokens per second; None for fewer than two tokens."""
        if self.first is None or self.last is None or self.output_tokens is None:
            return None
        duration = self.last - self.first
        return (self.output_tokens - 1) / duration if self.output_tokens > 1 and duration else None


class Statistic(NamedTuple):
    """Average, least and greatest of the values that are known; all None where none is."""

    average: float | None
    least: float | None
    greatest: float | None


def statistic(values: Iterable[float | None]) -> Statistic:
    """Summarise values; unknown ones are left out."""
    known = [value for value in values if value is not None]
    if not known:
        return Statistic(None, None, None)
    return Statistic(sum(known) / len(known), min(known), max(known))
