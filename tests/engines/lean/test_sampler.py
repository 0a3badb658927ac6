"""Every sampling option against a naive reference, written from its definition."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperllama_nb.engines.max.lean.request import Sampling
from hyperllama_nb.engines.max.lean.sampler import Sampler, largest, logprobs

NOTHING = np.zeros(0, dtype=np.int64)
Pair = tuple[int, float]


def softmax(pairs: Sequence[Pair]) -> list[float]:
    top = max(value for _, value in pairs)
    parts = [math.exp(value - top) for _, value in pairs]
    return [part / sum(parts) for part in parts]


def reference(row: Sequence[float], history: Sequence[int], s: Sampling) -> list[Pair]:
    """Return what may be drawn and its chances, the likeliest first, as llama.cpp defines them."""
    values = [float(value) for value in row]
    window = list(history) if s.repeat_last_n < 0 else list(history)[-s.repeat_last_n :]
    for token, count in Counter(window if s.repeat_last_n else []).items():
        penalty = s.repetition_penalty
        values[token] = values[token] / penalty if values[token] > 0 else values[token] * penalty
        values[token] -= count * s.frequency_penalty + s.presence_penalty
    pairs = sorted(enumerate(values), key=lambda pair: -pair[1])
    if s.temperature <= 0:
        return [(pairs[0][0], 1.0)]
    if s.top_k > 0:
        pairs = pairs[: s.top_k]
    if s.typical_p < 1:
        chances = softmax(pairs)
        entropy = -sum(p * math.log(p) for p in chances if p > 0)
        by_surprise = sorted(
            zip(pairs, chances, strict=True), key=lambda x: abs(-math.log(x[1]) - entropy)
        )
        kept, mass = [], 0.0
        for pair, chance in by_surprise:
            kept.append(pair)
            mass += chance
            if mass > s.typical_p:
                break
        pairs = sorted(kept, key=lambda pair: (-pair[1], pair[0]))
    if s.top_p < 1:
        mass = 0.0
        for number, chance in enumerate(softmax(pairs)):
            mass += chance
            if mass >= s.top_p:
                pairs = pairs[: number + 1]
                break
    if s.min_p > 0:
        pairs = [pair for pair in pairs if pair[1] >= pairs[0][1] + math.log(s.min_p)]
    warm = [(token, value / s.temperature) for token, value in pairs]
    return list(zip([token for token, _ in pairs], softmax(warm), strict=True))


def offered(sampler: Sampler, s: Sampling, row: Any, history: Any) -> dict[int, float]:
    """Return what the sampler draws from, and the chances."""
    ids, weights = sampler.candidates(row, history)
    chances = np.exp((weights - weights.max()) / s.temperature)
    return dict(zip(ids.tolist(), (chances / chances.sum()).tolist(), strict=True))


OPTIONS = st.builds(
    Sampling,
    temperature=st.floats(0.1, 2),
    top_k=st.sampled_from((-1, 1, 2, 5, 40, 200)),
    top_p=st.sampled_from((1.0, 0.95, 0.5, 0.1, 0.0)),
    min_p=st.sampled_from((0.0, 0.05, 0.5, 1.0)),
    typical_p=st.sampled_from((1.0, 0.9, 0.3)),
    repetition_penalty=st.sampled_from((1.0, 1.3, 0.7)),
    presence_penalty=st.sampled_from((0.0, 0.5)),
    frequency_penalty=st.sampled_from((0.0, 0.25, -0.5)),
    repeat_last_n=st.sampled_from((0, -1, 3, 64)),
)


def rows(seed: int, size: int, scale: float) -> np.ndarray:
    made = np.random.default_rng(seed).standard_normal(size).astype(np.float32) * scale
    return made.astype(np.float32)


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(OPTIONS, st.integers(0, 2**32), st.sampled_from((7, 64, 300, 5000)), st.floats(0.3, 6))
def test_what_is_drawn_from_is_what_the_definition_says(
    s: Sampling, seed: int, size: int, scale: float
) -> None:
    row = rows(seed, size, scale)
    history = np.random.default_rng(seed).integers(0, size, 20)
    found = offered(Sampler(s), s, row, history)
    wanted = dict(reference(row.tolist(), history.tolist(), s))
    # At the very edge of a mass, rounding decides: the tokens there have hardly any chance.
    for token in found.keys() ^ wanted.keys():
        nearest = min(wanted.values()) if token in found else min(found.values())
        own = found.get(token, wanted.get(token, 0.0))
        assert own <= nearest * 1.0001 or own < 1e-4
    for token in found.keys() & wanted.keys():
        assert found[token] == pytest.approx(wanted[token], rel=2e-3, abs=2e-4)


@settings(deadline=None, max_examples=50)
@given(OPTIONS, st.integers(0, 2**32), st.integers(0, 2**63))
def test_the_same_seed_draws_the_same(s: Sampling, of_row: int, seed: int) -> None:
    seeded = Sampling(**{**vars(s), "seed": seed})
    row = rows(of_row, 500, 3.0)
    history = np.arange(30)
    draws = [
        [sampler.draw(row, history, None) for _ in range(5)]
        for sampler in (Sampler(seeded), Sampler(seeded))
    ]
    assert draws[0] == draws[1]
    assert set(draws[0]) <= offered(Sampler(seeded), seeded, row, history).keys()


def test_draws_come_as_often_as_their_chances_say() -> None:
    s = Sampling(temperature=0.7, top_k=5, seed=3)
    row, sampler = rows(5, 400, 1.0), Sampler(s)
    seen = Counter(sampler.draw(row, NOTHING, None) for _ in range(20_000))
    for token, chance in reference(row.tolist(), [], s):
        assert seen[token] / 20_000 == pytest.approx(chance, abs=0.015)


@pytest.mark.parametrize("last", [0, 2, -1])
def test_temperature_0_takes_the_likeliest_after_penalties(last: int) -> None:
    s = Sampling(temperature=0, repetition_penalty=10.0, repeat_last_n=last)
    row = np.array([1, 5, 4.9, 4.8, -1], dtype=np.float32)
    before = row.copy()
    token = Sampler(s).draw(row, np.array([1, 2, 0, 0]), None)
    assert token == {0: 1, 2: 1, -1: 3}[last]
    assert (row == before).all()


@settings(deadline=None, max_examples=50)
@given(OPTIONS, st.integers(0, 2**32))
def test_only_allowed_tokens_are_drawn(s: Sampling, seed: int) -> None:
    row = rows(seed, 300, 3.0)
    allowed = np.zeros(300, dtype=np.bool_)
    allowed[[4, 250]] = True
    for heat in (0.0, s.temperature):
        sampler = Sampler(Sampling(**{**vars(s), "temperature": heat, "seed": 1}))
        assert sampler.draw(row, NOTHING, allowed) in (4, 250)


def test_logits_that_are_no_numbers_are_refused() -> None:
    row = np.full(300, np.nan, dtype=np.float32)
    for s in (
        Sampling(temperature=0),
        Sampling(),
        Sampling(top_k=4),
        Sampling(top_p=0.5),
        Sampling(min_p=0.1),
    ):
        with pytest.raises(ValueError, match="not finite"):
            Sampler(s).draw(row, NOTHING, None)
        with pytest.raises(ValueError, match="not finite"):
            Sampler(s).draw(rows(1, 300, 1.0), NOTHING, np.zeros(300, dtype=np.bool_))


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((5, 64, 100, 4097)), st.integers(1, 120))
def test_the_largest_come_in_order(seed: int, size: int, count: int) -> None:
    row = np.random.default_rng(seed).integers(0, 40, size).astype(np.float32)
    wanted = sorted(range(size), key=lambda at: (-row[at], at))[:count]
    assert largest(row, count).tolist() == wanted


def test_logprobs_are_of_the_models_own_distribution() -> None:
    row = rows(8, 300, 2.0)
    exact = row.astype(np.float64) - np.log(np.exp(row.astype(np.float64)).sum())
    value, top = logprobs(row, 17, 5)
    assert value == pytest.approx(exact[17], abs=1e-4)
    assert [token for token, _ in top] == np.argsort(-row)[:5].tolist()
    assert [chance for _, chance in top] == pytest.approx(sorted(exact)[::-1][:5], abs=1e-4)
    assert logprobs(row, 17, 0) == (value, [])
