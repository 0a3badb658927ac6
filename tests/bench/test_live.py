"""Series of a run that grows: exact, in the order of answers, and bounded."""

from itertools import pairwise

from hyperllama_nb.bench import live
from tests.bench.making import request


def answers(firsts, **fields):
    return [
        request(
            index=k, sent=float(k), texts=(k + first, k + first + 1.0), finished=k + 2.0 + first
        )
        for k, first in enumerate(firsts)
    ]


def test_the_running_median_and_the_order_statistics_around_it():
    found = live.running(answers([0.25, 0.5, 0.125, 1.0, 0.75, 2.0]), "a", "c1", "ttft")
    assert found.xs == (1, 2, 3, 4, 5, 6)
    assert found.middle == (0.25, 0.375, 0.25, 0.375, 0.5, 0.625)
    assert found.low == (None,) * 5 + (0.125,)
    assert found.high == (None,) * 5 + (2.0,)


def test_other_targets_loads_warm_ups_and_failures_are_left_out():
    odd = [
        request("b"),
        request(cell="c4"),
        request(warmup=True),
        request(status="failed", error="x"),
    ]
    assert live.running(odd, "a", "c1", "ttft") == live.Curve("a", (), (), (), ())
    assert live.ecdf(odd, "a", "c1", "ttft") == ((), ())


def test_answers_are_counted_and_their_values_pooled():
    found = live.running([request(texts=(0.5, 0.75, 1.25))], "a", "c1", "itl")
    assert (found.xs, found.middle) == ((1,), (0.375,))


def test_a_long_run_has_no_more_points_and_the_same_end():
    firsts = [0.001 * (k * 7919 % 1000) for k in range(1000)]
    requests = answers(firsts)
    curve = live.running(requests, "a", "c1", "ttft")
    assert len(curve.xs) == live.POINTS
    assert (curve.xs[0], curve.xs[-1]) == (1, 1000)
    assert abs(curve.middle[-1] - 0.4995) < 1e-9
    assert curve.low[-1] < 0.4995 < curve.high[-1]
    values, shares = live.ecdf(requests, "a", "c1", "ttft")
    assert len(values) == live.STEPS
    assert (shares[0], shares[-1]) == (0.001, 1.0)
    assert all(a < b for a, b in pairwise(values))
    assert abs(values[100] - (shares[100] - 0.001)) < 1e-9
