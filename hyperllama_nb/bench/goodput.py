"""How many requests met every objective, from stored records: no new run for another limit."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from hyperllama_nb.bench.records import Request
from hyperllama_nb.bench.statistics import wilson
from hyperllama_nb.bench.throughput import Objectives, is_good, measured, window


@dataclass(frozen=True)
class Attainment:
    """Good requests of those that were answered or refused, and good requests per second.

    `low` and `high` are Wilson's 95 % interval of `share`, from 0 to 1. All but the counts are
    None without a request, and where one of them does not tell what an objective asks for.
    """

    good: int
    of: int
    share: float | None
    low: float | None
    high: float | None
    goodput: float | None

    def plain(self) -> dict[str, Any]:
        """Return the fields as JSON knows them."""
        return asdict(self)


def attained(requests: Sequence[Request], objectives: Objectives) -> Attainment:
    """Return how one target did under one load, over all of its blocks.

    A failed request is not good, as in vLLM and guidellm; one that the run's own end cut off is
    neither good nor bad. Goodput is the mean over blocks of good requests / window.
    """
    kept = measured(requests)
    told = [is_good(each, objectives) for each in kept if each.status != "incomplete"]
    good, of = told.count(True), len(told)
    interval = None if None in told else wilson(good, of)
    if interval is None:
        return Attainment(good, of, None, None, None, None)
    blocks: dict[int, list[Request]] = {}
    for each in kept:
        blocks.setdefault(each.block, []).append(each)
    rates = [rate for block in blocks.values() if (rate := _rate(block, objectives)) is not None]
    return Attainment(good, of, good / of, *interval, fmean(rates) if rates else None)


def _rate(block: Sequence[Request], objectives: Objectives) -> float | None:
    """Return good requests that ended in the window / window, per second."""
    span = window(block)
    if span is None or span.seconds <= 0:
        return None
    inside = [each for each in block if span.start <= each.finished <= span.end]
    return sum(is_good(each, objectives) is True for each in inside) / span.seconds
