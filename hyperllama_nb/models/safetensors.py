"""Check the header of a safetensors file with every size bounded."""

import json
from math import prod
from pathlib import Path
from typing import Any

from hyperllama_nb.errors import InvalidFileError

MAX_HEADER = 100 << 20
"""Bytes: the format's own limit."""

_WIDTHS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64"), 64),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("F4",), 4),
}
"""Bits of one element."""


def read_tensors(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the kind and shape of each tensor after checking that they cover the file exactly.

    Raises InvalidFileError, and OSError where the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(MAX_HEADER, size - 8):
            raise _error(path, "its header is longer than the file or the format allow")
        try:
            header = json.loads(file.read(length), object_pairs_hook=_unique)
            if not isinstance(header, dict):
                raise _error(path, "its header is not an object")
            header.pop("__metadata__", None)
            tensors = [(name, *_entry(entry)) for name, entry in header.items()]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _error(path, f"its header is damaged ({type(error).__name__})") from error
    position = 0
    for name, kind, shape, start, end in sorted(tensors, key=lambda tensor: tensor[3:]):
        if start != position or (end - start) * 8 != prod(shape) * _WIDTHS[kind]:
            raise _error(path, f"the tensor {name[:80]!r} does not lie where it must")
        position = end
    if position != size - 8 - length:
        raise _error(path, f"its tensors end at byte {position + 8 + length} of {size}")
    return {name: (kind, shape) for name, kind, shape, _, _ in tensors}


def _entry(entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if kind not in _WIDTHS or not all(type(n) is int and n >= 0 for n in (*shape, start, end)):
        raise ValueError
    if len(shape) > 8 or end < start:
        raise ValueError
    return kind, tuple(shape), start, end


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError
    return content


def _error(path: Path, reason: str) -> InvalidFileError:
    return InvalidFileError(
        f"{path.name} is not a usable safetensors file: {reason}. Fetch it again from its source."
    )
