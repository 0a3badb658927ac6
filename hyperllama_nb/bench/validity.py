"""What makes the numbers of a run doubtful: a speed that drifts, a generator that sends late."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hyperllama_nb.bench.comparison import COMPARED, block_values, by_block, label_of
from hyperllama_nb.bench.metrics import METRICS
from hyperllama_nb.bench.records import Request
from hyperllama_nb.bench.statistics import ENOUGH, percentile, slope
from hyperllama_nb.bench.throughput import measured

DRIFT = 0.05
"""A change over the run that is worth a warning."""

LEVEL = 0.99
"""Of the interval of a slope: a run tests many of them, and a warning should mean something."""

LATE = 0.1
"""The part of a time to first token that may be the generator's own lag."""

ALWAYS = 0.001
"""Seconds of lag that are never worth a word."""


@dataclass(frozen=True)
class Lag:
    """How late an open load was sent, in seconds; None for a closed load and for too few requests.

    `degraded` says that the latencies hold too much of it: the 99th percentile (the greatest,
    below 299 requests) is over a tenth of the median time to first token, and over 1 ms. AIPerf
    marks a replay as degraded by the 99th percentile, too.
    """

    p99: float | None
    greatest: float | None
    degraded: bool | None

    def plain(self) -> dict[str, float | bool | None]:
        """Return the fields as a target's numbers in a summary have them."""
        return {"lag_p99": self.p99, "lag_max": self.greatest, "lag_degraded": self.degraded}


def lag(requests: Sequence[Request]) -> Lag:
    """Return the lag of one target under one load; a closed load has none, since it waits."""
    kept = [each for each in measured(requests) if each.rate is not None]
    late = [each.lag for each in kept]
    if not late:
        return Lag(None, None, None)
    p99 = percentile(late, 99) if len(late) >= ENOUGH["p99"] else None
    worst = max(late) if p99 is None else p99
    first = percentile((value for each in kept for value in METRICS["ttft"].values(each)), 50)
    limit = max(ALWAYS, LATE * first) if first is not None else ALWAYS
    return Lag(p99, max(late), worst > limit)


def drifts(
    requests: Sequence[Request], targets: Sequence[str], cells: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a warning per number that changed by more than 5 % over the run, beyond its noise.

    A straight line through the logarithms of the blocks' values over the run's clock; the change
    is its slope over the time between the first and the last block, and its 99 % interval leaves
    out 0. Fewer than three blocks tell nothing. A warning has `target`, `cell`, `metric`, `share`
    (0.1 is 10 % more at the end) and a `sentence`.
    """
    found: list[dict[str, Any]] = []
    kept = by_block(measured(requests))
    for target in targets:
        for cell in cells:
            blocks = kept.get((target, cell), {})
            for metric in COMPARED:
                share = _change(blocks, metric)
                if share is not None:
                    told = _sentence(target, cell, metric, share)
                    where = {"target": target, "cell": cell, "metric": metric}
                    found.append({**where, "share": share, "sentence": told})
    return found


def _change(blocks: Mapping[int, Sequence[Request]], metric: str) -> float | None:
    values = block_values(blocks, metric)
    starts = [min(each.sent for each in blocks[block]) for block in values]
    line = slope(starts, [math.log(value) for value in values.values()], LEVEL)
    if line is None or line.low <= 0 <= line.high:
        return None
    share = math.expm1(line.mean * (max(starts) - min(starts)))
    return share if abs(math.log1p(share)) > math.log1p(DRIFT) else None


def _sentence(target: str, cell: str, metric: str, share: float) -> str:
    word = "grew" if share > 0 else "fell"
    return (
        f"{label_of(metric)} of {target} at {cell} {word} by {abs(share):.0%} over the run: the "
        "machine may have become warm, or something else ran on it."
    )
