"""What is read of a checkpoint, against the definitions."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hyperllama_nb.engines.max.lean.config import Config
from hyperllama_nb.engines.max.lean.rotations import rotations

CONFIG = Config(
    layers=2,
    hidden=64,
    feed_forward=128,
    heads=4,
    kv_heads=1,
    head_dim=16,
    vocab=256,
    context=8192,
    epsilon=1e-5,
    theta=10000.0,
    scaling=None,
)
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def turn(table: np.ndarray, position: int, pair: int) -> float:
    """Return the angle of a pair at a position."""
    cosine, sine = table[position].reshape(-1, 2)[pair]
    return math.atan2(sine, cosine)


def scaled(scaling: dict | None) -> np.ndarray:
    return rotations(replace(CONFIG, scaling=scaling), 32)


def test_positions_turn_pairs_by_falling_frequencies() -> None:
    table = scaled(None)
    assert table.shape == (32, 16)
    for pair in range(8):
        assert turn(table, 1, pair) == pytest.approx(10000 ** (-2 * pair / 16), rel=1e-5)
    assert turn(table, 3, 0) == pytest.approx(3)


def test_linear_scaling_divides_all_frequencies() -> None:
    table, plain = scaled({"type": "linear", "factor": 4.0}), scaled(None)
    for pair in range(8):
        assert turn(table, 1, pair) == pytest.approx(turn(plain, 1, pair) / 4, rel=1e-4)


def test_llama3_scaling_divides_the_low_frequencies_only() -> None:
    table, plain = scaled({**LLAMA3, "original_max_position_embeddings": 100}), scaled(None)
    ratios = [turn(table, 1, pair) / turn(plain, 1, pair) for pair in range(8)]
    # More than 4 turns within 100 positions: as it is. Less than one: an eighth. Between: between.
    assert ratios[0] == pytest.approx(1)
    assert 1 / 8 < ratios[2] < 1
    assert ratios[-1] == pytest.approx(1 / 8, rel=1e-4)
