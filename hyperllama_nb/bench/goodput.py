"""How many requests met every objective, from stored records: no new run for another limit."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from hyperllama_nb.bench.records import Request
from hyperllama_nb.bench.statistics import wilson
from hyperllama_nb.bench.throughput import Objectives, is_good, measured, window

Judged = tuple[Request, bool | None]
"""A request, and whether it met the objectives; None where that is not told."""


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
    kept = [(each, is_good(each, objectives)) for each in measured(requests)]
    told = [good for each, good in kept if each.status != "incomplete"]
    count, of = told.count(True), len(told)
    interval = None if None in told else wilson(count, of)
    if interval is None:
        return Attainment(count, of, None, None, None, None)
    blocks: dict[int, list[Judged]] = {}
    for each, good in kept:
        blocks.setdefault(each.block, []).append((each, good))
    rates = [rate for block in blocks.values() if (rate := _rate(block)) is not None]
    return Attainment(count, of, count / of, *interval, fmean(rates) if rates else None)


def _rate(block: Sequence[Judged]) -> float | None:
    """Return good requests that ended in the window / window, per second."""
    span = window([each for each, _ in block])
    if span is None or span.seconds <= 0:
        return None
    inside = [good for each, good in block if span.start <= each.finished <= span.end]
    return inside.count(True) / span.seconds
