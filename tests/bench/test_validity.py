"""Warnings about a run: a speed that drifts, a generator that is late; and none without cause."""

from dataclasses import replace

import numpy as np
import pytest

from hyperllama_nb.bench.validity import drifts, lag
from tests.bench.making import request, simulate
from tests.bench.summaries import records


def blocks(values):
    return [
        request(block=k, sent=10.0 * k, texts=(10 * k + v, 10 * k + 2 * v), finished=10 * k + 2 * v)
        for k, v in enumerate(values)
    ]


def moved(one):
    """Return a record of a simulation, whose blocks all begin at 0, at its place in a run."""
    start = 100.0 * one.block
    texts = tuple(start + text for text in one.texts)
    return replace(one, sent=start + one.sent, texts=texts, finished=start + one.finished)


def warned(values):
    return {(each["metric"], each["cell"]) for each in drifts(blocks(values), ["a"], ["c1"])}


def test_a_steady_growth_is_told_with_its_size():
    found = drifts(blocks([0.5, 0.52, 0.54, 0.56, 0.58]), ["a", "b"], ["c1", "c4"])
    first = next(each for each in found if each["metric"] == "ttft")
    assert (first["target"], first["cell"]) == ("a", "c1")
    assert first["share"] == pytest.approx(0.16, abs=0.005)
    assert "grew by 16%" in first["sentence"]
    assert {each["share"] < 0 for each in found if each["metric"] == "output_rate"} == {True}


@pytest.mark.parametrize(
    "values",
    [
        [0.5, 0.502, 0.504, 0.506, 0.508],  # resolved, and too small to matter
        [0.5, 0.7, 0.45, 0.72, 0.6],  # large, and nothing but noise
        [0.5, 0.6],  # two points are on some line always
    ],
)
def test_what_is_small_or_noise_is_no_drift(values):
    assert warned(values) == set()


def test_noise_alone_is_seldom_called_a_drift():
    false = 0
    for seed in range(100):
        kept = simulate(np.random.default_rng(seed), {"a": 1}, blocks=6, requests=3)
        false += bool(drifts([moved(each) for each in kept], ["a"], ["c1"]))
    assert false <= 6


def test_a_late_generator_is_told_where_it_matters():
    late = [each for each in records(late=0.05) if each.rate]
    found = lag(late)
    assert found.p99 is None
    assert found.greatest == pytest.approx(0.05)
    assert found.degraded
    assert not lag([each for each in records(late=0.01) if each.rate]).degraded
    many = [request(index=k, rate=1.0, concurrency=None, sent=0.002) for k in range(300)]
    assert lag(many).plain() == {"lag_p99": 0.002, "lag_max": 0.002, "lag_degraded": False}


def test_a_closed_load_waits_and_is_never_late():
    assert set(lag([request(scheduled=-5.0)]).plain().values()) == {None}
