"""No safetensors file, however damaged, does more than raise InvalidFileError."""

import json
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyperllama_nb.errors import InvalidFileError
from hyperllama_nb.models.safetensors import read_tensors
from tests.models.checkpoints import safetensors

WHOLE = safetensors({"a": ("F32", (2, 2), b"\0" * 16), "b": ("BF16", (3,), b"\0" * 6)})


def read(tmp_path: Path, content: bytes) -> dict[str, tuple[str, tuple[int, ...]]]:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    return read_tensors(path)


def test_whole(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE) == {"a": ("F32", (2, 2)), "b": ("BF16", (3,))}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1),
    cut=st.integers(0, len(WHOLE)),
)
def test_damage_is_read_or_refused(
    tmp_path: Path, changes: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray(WHOLE)
    for position, byte in changes:
        content[position] = byte
    with suppress(InvalidFileError):
        read(tmp_path, bytes(content[:cut]))


def file(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(kind: str, shape: Any, *offsets: int) -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        struct.pack("<Q", 1 << 62) + b"{}",
        file(b"[]"),
        file(b"nonsense"),
        file(b"[" * 100_000),
        file({}, b"more"),
        file({"a": entry("F32", [1], 0, 4)}),
        file({"a": entry("F32", [2], 0, 4)}, b"1234"),
        file({"a": entry("F33", [1], 0, 4)}, b"1234"),
        file({"a": entry("F32", [-1, -1], 0, 4)}, b"1234"),
        file({"a": entry("F32", "1", 0, 4)}, b"1234"),
        file({"a": entry("F32", [1], 1, 5)}, b"12345"),
        file({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 0, 4)}, b"1234"),
        file(b'{"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}, "a": 1}'),
    ],
)
def test_limits(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InvalidFileError, match="not a usable safetensors file"):
        read(tmp_path, content)
