"""Percentiles and intervals: of a mean, of a quantile, of a share, of a slope."""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from statistics import NormalDist, fmean, linear_regression, stdev
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
ENOUGH = {"p50": 1, "p90": 29, "p95": 59, "p99": 299}
"""How many values a percentile needs: a 95 % upper bound on it by order statistics exists."""

BOOTSTRAP_FROM = 8
"""Values from which the bootstrap is used; below, it knows too little of the spread."""


class Interval(NamedTuple):
    """A mean, or a slope, with an interval around it and the method that gave it."""

    mean: float
    low: float
    high: float
    method: str


def percentile(values: Iterable[float | None], percent: float) -> float | None:
    """Return a percentile by linear interpolation between order statistics (type 7).

    NumPy's default, as in vLLM and MAX. Unknown values are left out; None without any.
    """
    known = [value for value in values if value is not None]
    return float(np.percentile(known, percent)) if known else None


def summary(values: Iterable[float | None]) -> dict[str, float | None]:
    """Return mean, p50, p90, p95 and p99; a percentile of too few values is None."""
    known = [value for value in values if value is not None]
    found: dict[str, float | None] = {"mean": fmean(known) if known else None}
    for name, least in ENOUGH.items():
        found[name] = percentile(known, float(name[1:])) if len(known) >= least else None
    return found


def mean_interval(values: Sequence[float], level: float = 0.95, seed: int = 0) -> Interval | None:
    """Return the mean of independent values with its interval; None for fewer than three."""
    if len(values) < 3:
        return None
    mean = fmean(values)
    if max(values) == min(values):
        return Interval(mean, mean, mean, "constant")
    if len(values) >= BOOTSTRAP_FROM:
        return _bca(values, level, seed)
    half = t_quantile((1 + level) / 2, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half, "t")


@lru_cache(maxsize=4096)
def quantile_ranks(
    count: int, share: float = 0.5, level: float = 0.95
) -> tuple[int | None, int | None]:
    """Return the ranks, from 1, of the sorted values between which their source's quantile lies.

    Exact for any continuous source of independent values: how many of them are below the quantile
    is binomial, and each tail gets half of what the level leaves (David and Nagaraja, Order
    Statistics, 7.1). An end is None where no value is far enough out: at 95 % the median needs 6
    values, and the 90th, 95th and 99th percentile need 36, 72 and 368 for both ends.
    """
    if count < 1:
        return None, None
    # beyond nine standard deviations nothing is left of a binomial distribution
    reach = 9 * math.sqrt(count * share * (1 - share)) + 9
    start = max(0, math.floor(count * share - reach))
    places = np.arange(start, min(count, math.ceil(count * share + reach)) + 1)
    steps = np.log((count - places[:-1]) / (places[:-1] + 1) * share / (1 - share))
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    parts = np.exp(logs - logs.max())
    below, tail = np.cumsum(parts / parts.sum()), (1 - level) / 2
    low = start + int(np.searchsorted(below, tail, side="right"))
    high = start + int(np.argmax(below >= 1 - tail)) + 1
    return (low or None), (high if high <= count else None)


def quantile_interval(
    values: Sequence[float], share: float = 0.5, level: float = 0.95
) -> tuple[float | None, float | None]:
    """Return the two order statistics of `quantile_ranks`; `values` are sorted already."""
    low, high = quantile_ranks(len(values), share, level)
    return (None if low is None else values[low - 1]), (None if high is None else values[high - 1])


def wilson(good: int, of: int, level: float = 0.95) -> tuple[float, float] | None:
    """Return the score interval of a share (Wilson 1927); None without any trial.

    Other than the share's own standard error it stays within 0 and 1, also where all are good.
    """
    if not of:
        return None
    z, share = NormalDist().inv_cdf((1 + level) / 2), good / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    # at the ends the two terms are equal but for rounding
    low, high = middle - half, middle + half
    return (0.0 if good == 0 else low), (1.0 if good == of else high)


def slope(xs: Sequence[float], ys: Sequence[float], level: float = 0.95) -> Interval | None:
    """Return the least-squares slope of ys over xs with its interval by Student's t.

    None for fewer than three points or for a single x.
    """
    if len(xs) < 3 or max(xs) == min(xs):
        return None
    line = linear_regression(xs, ys)
    rest = sum((y - line.intercept - line.slope * x) ** 2 for x, y in zip(xs, ys, strict=True))
    spread = sum((x - fmean(xs)) ** 2 for x in xs)
    error = math.sqrt(rest / (len(xs) - 2) / spread)
    half = t_quantile((1 + level) / 2, len(xs) - 2) * error
    return Interval(line.slope, line.slope - half, line.slope + half, "least squares")


def _bca(values: Sequence[float], level: float, seed: int) -> Interval:
    """Return the bias-corrected and accelerated interval of the mean (Efron 1987)."""
    data = np.asarray(values, dtype=float)
    picks = np.random.default_rng(seed).integers(0, len(data), (RESAMPLES, len(data)))
    means = data[picks].mean(axis=1)
    normal = NormalDist()
    share = float((means < data.mean()).mean() + (means == data.mean()).mean() / 2)
    bias = normal.inv_cdf(min(max(share, 1 / RESAMPLES), 1 - 1 / RESAMPLES))
    # the jackknife of a mean: leaving a value out moves it against the value's own deviation
    away = data - data.mean()
    skew = float((away**3).sum() / (6 * (away**2).sum() ** 1.5))
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = bias + normal.inv_cdf(tail)
        ends.append(100 * normal.cdf(bias + z / (1 - skew * z)))
    low, high = np.percentile(means, ends)
    return Interval(float(data.mean()), float(low), float(high), "BCa bootstrap")


def t_quantile(share: float, freedom: int) -> float:
    """Return Student's t below which a share (0.5 to 1) of its distribution lies.

    By bisection on the closed form of the distribution for whole degrees of freedom.
    """
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_below(middle, freedom) < share else (low, middle)
    return (low + high) / 2


def _t_below(t: float, freedom: int) -> float:
    angle = math.atan(t / math.sqrt(freedom))
    cosine, odd = math.cos(angle), freedom % 2
    term = cosine if odd else 1.0
    total = 0.0 if freedom == 1 else term
    for index in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine**2 * (index - 1) / index
        total += term
    inner = math.sin(angle) * total
    both = (angle + inner) * 2 / math.pi if odd else inner
    return 0.5 + both / 2
