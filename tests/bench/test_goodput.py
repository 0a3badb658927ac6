"""How many requests met the objectives, by hand."""

import pytest

from hyperllama_nb.bench.goodput import attained
from hyperllama_nb.bench.statistics import wilson
from hyperllama_nb.bench.throughput import Objectives
from tests.bench.making import request

NONE = (None, None, None, None)


def numbers(found):
    return found.share, found.low, found.high, found.goodput


def test_good_requests_over_all_blocks():
    slow = {"texts": (0.7, 0.9, 1.0), "finished": 1.0}
    kept = [request(block=0), request(block=1, **slow), request(block=2, warmup=True, **slow)]
    found = attained(kept, Objectives(ttft=0.6))
    assert (found.good, found.of, found.share) == (1, 2, 0.5)
    assert (found.low, found.high) == wilson(1, 2)
    assert found.goodput == pytest.approx((1 / 0.8 + 0) / 2)
    assert attained(kept, Objectives()).share == 1.0
    assert found.plain()["good"] == 1


def test_a_failure_is_not_good_and_a_cut_off_request_is_neither():
    kept = [
        request(),
        request(index=1, status="failed", error="x"),
        request(index=2, status="incomplete", error="x"),
    ]
    found = attained(kept, Objectives())
    assert (found.good, found.of, found.share) == (1, 2, 0.5)


def test_what_is_not_told_makes_no_share():
    found = attained([request(), request(index=1, output_tokens=None)], Objectives(tpot=1.0))
    assert (found.good, found.of) == (1, 2)
    assert numbers(found) == NONE
    assert numbers(attained([], Objectives())) == NONE
