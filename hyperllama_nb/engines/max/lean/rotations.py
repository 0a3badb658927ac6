"""How positions rotate queries and keys."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import Config, rope_kind


def rotations(config: Config, positions: int) -> NDArray[np.float32]:
    """Return the cosines and sines of each position, interleaved, [positions, head_dim].

    Pair i of a head turns by position * theta ** (-2 i / head_dim) (RoFormer, arXiv 2104.09864,
    §3.2.2); "linear" divides the frequencies by a factor, and "llama3" only the low ones, with a
    smooth passage between (the Llama 3.1 model card's scaling).
    """
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim
    frequencies = config.theta**-exponents
    scaling = config.scaling or {}
    kind = rope_kind(scaling)
    if kind == "linear":
        frequencies /= float(scaling["factor"])
    elif kind == "llama3":
        frequencies = _llama3(frequencies, scaling)
    angles = np.outer(np.arange(positions), frequencies.astype(np.float32)).astype(np.float32)
    turned = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return turned.reshape(positions, config.head_dim).astype(np.float32)


def _llama3(frequencies: NDArray[np.float64], scaling: dict[str, Any]) -> NDArray[np.float64]:
    factor = float(scaling["factor"])
    low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
    turns = float(scaling["original_max_position_embeddings"]) * frequencies / (2 * math.pi)
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    scaled: NDArray[np.float64] = frequencies * (smooth + (1 - smooth) / factor)
    return scaled
