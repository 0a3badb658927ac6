"""The summary of a run: every key, by hand, and None where nothing is known."""

import json

import pytest

from hyperllama_nb.bench.summarising import summarise
from hyperllama_nb.bench.throughput import Objectives
from tests.bench.summaries import OVERLAY, outcome, records, summary


def numbers(found, cell, target):
    return found["cells"][cell]["targets"][target]


def test_what_a_load_did_to_a_target():
    found = summary(objectives=Objectives(ttft=0.21))
    closed, opened = (numbers(found, cell, "a") for cell in (0, 1))
    assert closed["metrics"]["ttft"]["p50"] == pytest.approx(0.2)
    assert closed["metrics"]["ttft"]["p90"] is None
    assert closed["requests"]["succeeded"] == 6
    assert (closed["goodput"]["good"], numbers(found, 0, "b")["goodput"]["good"]) == (6, 0)
    # two requests of 0.35 s each, sent a second apart
    assert closed["in_flight"] == pytest.approx(0.7 / 1.35)
    assert closed["steady"] is True
    assert closed["lag_p99"] is closed["lag_max"] is closed["lag_degraded"] is None
    assert (opened["lag_max"], opened["lag_degraded"]) == (0.0, False)
    assert found["objectives"] == {"ttft": 0.21, "tpot": None, "e2e": None}
    assert [(cell["concurrency"], cell["rate"]) for cell in found["cells"]] == [
        (1, None),
        (None, 2),
    ]


def test_it_is_json_without_a_number_that_is_none():
    found = summary(("a", "a #2", "b"), same=("a", "a #2"), overlays=[OVERLAY])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["overlays"] == [OVERLAY]


def test_a_pair_of_one_engine_gives_the_noise_and_marks_what_is_below_it():
    found = summary(("a", "a #2", "b"), same=("a", "a #2"))
    assert found["targets_same"] == ["a", "a #2"]
    compared = found["cells"][0]["comparisons"]
    assert {(each["first"], each["second"]) for each in compared} == {("a", "b")}
    assert {each["above_noise"] for each in compared if each["metric"] == "ttft"} == {True}
    plain = summary()
    assert plain["targets_same"] is plain["noise_floor"] is None
    assert {each["above_noise"] for each in plain["cells"][0]["comparisons"]} == {None}
    reverse = summary(("b", "a", "a #2"), same=("a", "a #2"))
    assert {each["second"] for each in reverse["cells"][0]["comparisons"]} == {"a"}


def test_nothing_is_known_of_a_run_without_requests():
    found = summarise(outcome([]), same=("a", "b"))
    empty = numbers(found, 0, "a")
    assert empty["steady"] is empty["in_flight"] is empty["goodput"]["share"] is None
    assert set(empty["metrics"]["ttft"].values()) == {None}
    assert found["noise_floor"] is None
    assert found["drift"] == []


def test_a_block_that_was_cut_short_counts_in_latencies_and_in_nothing_of_the_system():
    kept = [each for each in records(blocks=4) if (each.block, each.target) != (3, "b")]
    kept = [each for each in kept if (each.block, each.index) != (3, 0)]
    found = summarise(outcome(kept))
    assert found["blocks"] == 3
    assert numbers(found, 0, "a")["steady"] is True
    assert numbers(found, 0, "a")["in_flight"] == numbers(summary(), 0, "a")["in_flight"]
    assert numbers(found, 0, "a")["requests"]["succeeded"] == 7
    assert {each["blocks"] for each in found["cells"][0]["comparisons"]} == {3}
