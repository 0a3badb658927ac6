"""Series for pictures of a run while it grows: a bounded number of points however long it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hyperllama_nb.bench.metrics import METRICS
from hyperllama_nb.bench.records import Request
from hyperllama_nb.bench.statistics import quantile_interval

POINTS = 120
"""Points of a curve, at most; a picture is some hundred pixels wide."""

STEPS = 200
"""Steps of a distribution, at most."""


@dataclass(frozen=True)
class Curve:
    """A line with a band, of one target: `middle` between `low` and `high`, None where unknown."""

    target: str
    xs: tuple[float, ...]
    middle: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


def running(requests: Sequence[Request], target: str, cell: str, metric: str) -> Curve:
    """Return the median so far over the number of answers so far, in the order of their ends.

    `metric` is one of `METRICS`. The band is the exact 95 % interval of a median by order
    statistics at each point by itself: whoever stops at the moment that suits them is outside it
    more often than in one of twenty cases, so the verdict never comes from here.
    """
    values: list[float] = []
    points: list[tuple[float, float, float | None, float | None]] = []
    groups = list(_groups(requests, target, cell, metric))
    wanted = set(_spread(len(groups), POINTS))
    for number, group in enumerate(groups):
        values += group
        if number in wanted:
            values.sort()  # what was sorted at the last point is not compared again
            middle = (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2
            points.append((float(number + 1), middle, *quantile_interval(values)))
    if not points:
        return Curve(target, (), (), (), ())
    xs, middles, lows, highs = zip(*points, strict=True)
    return Curve(target, xs, middles, lows, highs)


def ecdf(
    requests: Sequence[Request], target: str, cell: str, metric: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return values and the share of all that are no greater, rising; both empty without any.

    Of many values only some ranks are kept, the first and the last among them, and each that is
    kept is exact.
    """
    values = sorted(v for group in _groups(requests, target, cell, metric) for v in group)
    ranks = _spread(len(values), STEPS)
    return (
        tuple(values[rank] for rank in ranks),
        tuple((rank + 1) / len(values) for rank in ranks),
    )


def _groups(
    requests: Sequence[Request], target: str, cell: str, metric: str
) -> Iterator[Sequence[float]]:
    """Yield the values of each answer that has any, in the order of their ends."""
    own = (each for each in requests if each.target == target and each.cell == cell)
    for request in sorted(own, key=lambda each: each.finished):
        if not request.warmup and (values := METRICS[metric].values(request)):
            yield values


def _spread(count: int, most: int) -> list[int]:
    """Return up to `most` of the numbers below `count`, evenly, with both ends."""
    if count <= most:
        return list(range(count))
    return [round(step * (count - 1) / (most - 1)) for step in range(most)]
