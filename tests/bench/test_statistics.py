"""Percentiles and intervals against published values, and how often they hold what they should."""

from math import comb

import numpy as np
import pytest

from hyperllama_nb.bench.statistics import (
    mean_interval,
    percentile,
    quantile_interval,
    quantile_ranks,
    slope,
    summary,
    t_quantile,
    wilson,
)


def test_intervals_and_percentiles():
    assert t_quantile(0.975, 2) == pytest.approx(4.302653, abs=1e-5)
    assert t_quantile(0.975, 7) == pytest.approx(2.364624, abs=1e-5)
    assert t_quantile(0.975, 1) == pytest.approx(12.7062, abs=1e-3)
    assert percentile([1.0, None, 2.0, 4.0], 75) == 3.0
    assert percentile([], 50) is None
    assert summary([1.0, 2.0]) == {"mean": 1.5, "p50": 1.5, "p90": None, "p95": None, "p99": None}
    low = mean_interval([1.0, 2.0, 3.0])
    assert (low.mean, low.high - low.mean) == (2.0, pytest.approx(2.48414, abs=1e-4))
    many = [float(k) for k in range(10)]
    assert mean_interval(many, seed=3) == mean_interval(many, seed=3)
    assert mean_interval([1.0, 2.0]) is None


@pytest.mark.parametrize(
    ("count", "ranks"),
    [(5, (None, None)), (6, (1, 6)), (10, (2, 9)), (20, (6, 15)), (50, (18, 33)), (100, (40, 61))],
)
def test_the_ranks_around_a_median_are_those_of_the_tables(count, ranks):
    assert quantile_ranks(count) == ranks


@pytest.mark.parametrize(("percent", "least"), [(90, 36), (95, 72), (99, 368)])
def test_a_high_percentile_needs_many_values_for_both_ends(percent, least):
    assert None not in quantile_ranks(least, percent / 100)
    assert quantile_ranks(least - 1, percent / 100)[1] is None


@pytest.mark.parametrize(("count", "share"), [(7, 0.5), (61, 0.9), (400, 0.99), (1000, 0.5)])
def test_ranks_are_the_tightest_with_the_exact_binomial_tails(count, share):
    def at_most(k):
        return sum(comb(count, j) * share**j * (1 - share) ** (count - j) for j in range(k + 1))

    low, high = quantile_ranks(count, share)
    assert at_most(low - 1) <= 0.025 < at_most(low)
    assert 1 - at_most(high - 1) <= 0.025 < 1 - at_most(high - 2)


def test_the_interval_of_a_median_holds_it_as_often_as_it_says():
    chance = np.random.default_rng(5)
    held = 0
    for values in np.sort(chance.exponential(size=(2000, 25)), axis=1):
        low, high = quantile_interval(list(values))
        held += low <= np.log(2) <= high
    assert held / 2000 == pytest.approx(0.957, abs=0.015)  # binomial(25, 1/2) from 8 to 17
    assert quantile_interval([]) == (None, None)


@pytest.mark.parametrize(
    ("good", "of", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_shares_have_the_intervals_of_newcombe_1998(good, of, low, high):
    assert wilson(good, of) == pytest.approx((low, high), abs=5e-5)
    assert wilson(of - good, of) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_shares_are_held_as_often_as_is_said_on_average():
    count, shares = 20, [k / 200 for k in range(1, 200)]
    held = [
        comb(count, good) * share**good * (1 - share) ** (count - good)
        for share in shares
        for good in range(count + 1)
        if wilson(good, count)[0] <= share <= wilson(good, count)[1]
    ]
    assert sum(held) / len(shares) == pytest.approx(0.953, abs=0.003)


def test_without_a_trial_there_is_no_share():
    assert wilson(0, 0) is None
    assert wilson(9, 9)[1] == 1.0


def test_a_slope_with_its_interval():
    # five points: slope 0.6, residual variance 0.8, t(0.975, 3) = 3.1824
    found = slope([1, 2, 3, 4, 5], [2, 4, 5, 4, 5])
    assert found.mean == pytest.approx(0.6)
    assert found.high - found.mean == pytest.approx(3.182446 * 0.08**0.5, rel=1e-5)
    assert slope([1, 2], [1, 2]) is None
    assert slope([1, 1, 1], [1, 2, 3]) is None
