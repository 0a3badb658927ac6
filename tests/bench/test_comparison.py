"""Verdicts on a simulated clock, and the order of blocks."""

import numpy as np
import pytest

from hyperllama_nb.bench.comparison import compare, compare_all, noise_floor, verdict
from tests.bench.making import request, simulate

LATENCIES = ("ttft", "tpot", "e2e")


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [3, 8])
def test_the_same_engine_twice_gives_no_false_verdict(blocks):
    false = 0
    for seed in range(200):
        records = list(simulate(np.random.default_rng(seed), {"a": 1, "b": 1}, blocks))
        found = [compare(records, "a", "b", "c1", metric) for metric in LATENCIES]
        false += any(one.verdict in {"faster", "slower"} for one in found)
    assert false <= 10


def test_a_difference_of_a_tenth_is_found():
    for seed in range(20):
        records = list(simulate(np.random.default_rng(seed), {"a": 1.1, "b": 1}, 8, 16))
        found = compare_all(records, ["a", "b"], ["c1"])
        assert {one.verdict for one in found} == {"faster"}
        assert compare(records, "b", "a", "c1", "e2e").verdict == "slower"
        assert noise_floor(found) > 0.05


def test_too_few_blocks_decide_nothing():
    found = compare([request("a"), request("b")], "a", "b", "c1", "ttft")
    assert (found.verdict, found.ratio, found.more_blocks) == ("not resolved", None, 2)
    assert "at least 3 blocks" in found.sentence
    assert noise_floor([found]) is None


def test_equal_blocks_are_equivalent():
    records = [request(name, block) for name in "ab" for block in range(3)]
    assert compare(records, "a", "b", "c1", "ttft").verdict == "equivalent"


def test_more_than_two_targets_are_held_to_a_higher_level():
    records = list(simulate(np.random.default_rng(1), {"a": 1.5, "b": 1, "c": 1}))
    levels = {one.level for one in compare_all(records, ["a", "b", "c"], ["c1"], ["e2e"])}
    assert max(levels) == pytest.approx(1 - 0.05 / 3)
    assert min(levels) == pytest.approx(0.95)


def test_the_rules():
    assert verdict(0.1, 0.05, 0.15) == "faster"
    assert verdict(-0.1, -0.15, -0.05) == "slower"
    assert verdict(0.02, 0.01, 0.025) == "equivalent"
    assert verdict(0.1, -0.01, 0.2) == "not resolved"
