"""Q4_0, GGML's kind of four bits."""

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 18
"""A half-precision scale and 32 numbers of four bits, two to a byte."""


def dequantized(packed: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return Q4_0 rows as float32, [rows, bytes / 18 * 32].

    A block is a scale d and sixteen bytes: weight i is d * (low half of byte i - 8), weight
    i + 16 is d * (high half of byte i - 8) (GGML's definition of the kind).
    """
    rows = packed.shape[0]
    blocks = packed.reshape(-1, BLOCK_BYTES)
    scales = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    halves = np.concatenate([blocks[:, 2:] & 0x0F, blocks[:, 2:] >> 4], axis=1)
    weights = (halves.astype(np.int8) - 8).astype(np.float32) * scales
    return weights.reshape(rows, -1)
