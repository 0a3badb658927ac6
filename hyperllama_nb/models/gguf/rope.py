"""Rotary position scaling: what a GGUF holds as numbers, a configuration holds as parameters."""

import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

from hyperllama_nb.errors import ForeignFileError
from hyperllama_nb.models.gguf.check import Header

_TENSOR = "rope_freqs.weight"
_MAX_FACTORS = 4096

_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LLAMA3_CONTEXT = 8192
_LLAMA3_FACTORS = (8.0, 32.0)
"""The scalings of Llama 3.1 and 3.2."""


def take_factors(path: Path, header: Header) -> tuple[Header, tuple[float, ...] | None]:
    """Return the header without its tensor of rotary factors, and the factors.

    Raises ForeignFileError if the tensor is not a vector of 32-bit numbers.
    """
    tensor = header.tensors.get(_TENSOR)
    if tensor is None:
        return header, None
    if len(tensor.shape) != 1 or tensor.kind.name != "F32" or tensor.shape[0] > _MAX_FACTORS:
        raise _unknown("rope_freqs")
    with path.open("rb") as file:
        file.seek(tensor.offset)
        data = file.read(tensor.size)
    others = {name: other for name, other in header.tensors.items() if name != _TENSOR}
    if len(data) != tensor.size:
        raise _unknown("rope_freqs")
    return replace(header, tensors=others), struct.unpack(f"<{tensor.shape[0]}f", data)


def scaling(
    kind: str | None,
    factor: float,
    factors: tuple[float, ...] | None,
    theta: float,
    head_dim: int,
) -> dict[str, Any] | None:
    """Return the `rope_scaling` of the configuration, None for none.

    Factors are taken only where they are exactly those of a known scaling.
    Raises ForeignFileError for every other one.
    """
    if kind not in {None, "none", "linear"} or (kind == "linear" and factors is not None):
        raise _unknown(str(kind))
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if factors is None:
        return None
    for known in _LLAMA3_FACTORS:
        expected = llama3_factors(known, theta, head_dim)
        close = (math.isclose(a, b, rel_tol=1e-4) for a, b in zip(factors, expected, strict=False))
        if len(factors) == len(expected) and all(close):
            return {
                "rope_type": "llama3",
                "factor": known,
                **_LLAMA3,
                "original_max_position_embeddings": _LLAMA3_CONTEXT,
            }
    raise _unknown("rope_freqs")


def llama3_factors(factor: float, theta: float, head_dim: int) -> list[float]:
    """Return what divides each frequency in Llama 3's scaling: 1 for fast ones, `factor` for slow.

    Between the two, one over a linear interpolation of the reciprocals (Llama 3.1's reference
    implementation, `apply_scaling`).
    """
    low, high = _LLAMA3["low_freq_factor"], _LLAMA3["high_freq_factor"]
    made = []
    for index in range(0, head_dim, 2):
        turns = _LLAMA3_CONTEXT / (2 * math.pi * theta ** (index / head_dim))
        smooth = min(max((turns - low) / (high - low), 0.0), 1.0)
        made.append(1 / ((1 - smooth) / factor + smooth))
    return made


def _unknown(kind: str) -> ForeignFileError:
    return ForeignFileError(
        f"The GGUF file scales its rotary positions ({kind[:80]}) in a way that cannot be imported "
        "exactly. Pull the model's own repository with hf:organisation/repository instead."
    )
