"""Read a GGUF header with every size bounded, before any other reader sees the file."""

import struct
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from hyperllama_nb.errors import InvalidFileError
from hyperllama_nb.models.gguf.kinds import KINDS, Kind

MAX_TENSORS = 65_536
MAX_KEYS = 65_536
MAX_TEXT = 64 << 10
MAX_LONG_TEXT = 16 << 20
"""Bytes of one string: chat templates and whole tokenizers are the long ones."""
MAX_ELEMENTS = 2 << 20
"""Array elements in the whole header; the largest vocabularies and merges have 0.8 million."""
MAX_HEADER = 256 << 20
MAX_NESTING = 2
MAX_NAME = 64
MAX_ALIGNMENT = 4096

_SCALARS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_STRING, _ARRAY = 8, 9
_U32, _U64 = _SCALARS[4], _SCALARS[10]


@dataclass(frozen=True)
class Tensor:
    """A tensor: `shape` as in numpy, slowest dimension first; `offset` in bytes from the start."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    offset: int
    size: int


@dataclass(frozen=True)
class Header:
    """What a GGUF file says about itself."""

    version: int
    metadata: dict[str, Any]
    tensors: dict[str, Tensor]
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Where each key lies in the file with its value: first byte, and first byte after it."""


def read_header(path: Path) -> Header:
    """Return the header of a GGUF file after checking all of it against the file's size.

    Raises InvalidFileError, and OSError where the file cannot be read.
    """
    with path.open("rb") as file:
        return _Reader(file, path.stat().st_size, path.name).header()


class _Reader:
    """A bounded cursor over the header."""

    def __init__(self, file: BinaryIO, size: int, name: str) -> None:
        self._file, self._size, self._name = file, size, name
        self._position = 0
        self._elements = 0
        self._spans: dict[str, tuple[int, int]] = {}

    def header(self) -> Header:
        if self._take(4, "the magic number") != b"GGUF":
            raise self._error("it does not begin with the letters GGUF")
        version = self._number(_U32, "the version")
        if version not in {2, 3}:
            swapped = " (a big-endian file)" if version in {2 << 24, 3 << 24} else ""
            raise self._error(f"version {version}{swapped} is not 2 or 3")
        tensors = self._number(_U64, "the number of tensors")
        keys = self._number(_U64, "the number of keys")
        if tensors > MAX_TENSORS or keys > MAX_KEYS:
            raise self._error(f"it announces {tensors} tensors and {keys} keys")
        metadata = self._metadata(keys)
        found = self._tensors(tensors, self._alignment(metadata))
        return Header(version, metadata, found, self._spans)

    def _metadata(self, count: int) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        for _ in range(count):
            start = self._position
            key = self._text(MAX_TEXT, "a key")
            if key in metadata:
                raise self._error(f"the key {key[:80]!r} appears twice")
            long = MAX_LONG_TEXT if key.startswith("tokenizer.") else MAX_TEXT
            metadata[key] = self._value(self._number(_U32, key), long, key, 0)
            self._spans[key] = (start, self._position)
        return metadata

    def _value(self, kind: int, longest: int, key: str, depth: int) -> Any:
        if kind == _STRING:
            return self._text(longest, key)
        if kind == _ARRAY:
            return self._array(key, depth + 1)
        if kind not in _SCALARS:
            raise self._error(f"the key {key[:80]!r} has the unknown type {kind}")
        return self._number(_SCALARS[kind], key)

    def _array(self, key: str, depth: int) -> list[Any]:
        if depth > MAX_NESTING:
            raise self._error(f"the arrays of {key[:80]!r} are nested too deep")
        kind = self._number(_U32, key)
        count = self._number(_U64, key)
        self._elements += count
        if self._elements > MAX_ELEMENTS:
            raise self._error(f"its arrays hold more than {MAX_ELEMENTS} elements")
        if kind in _SCALARS:
            scalar = _SCALARS[kind]
            data = self._take(count * scalar.size, key)
            return [value for (value,) in scalar.iter_unpack(data)] if count else []
        return [self._value(kind, MAX_TEXT, key, depth) for _ in range(count)]

    def _alignment(self, metadata: dict[str, Any]) -> int:
        alignment = metadata.get("general.alignment", 32)
        plain = type(alignment) is int and 0 < alignment <= MAX_ALIGNMENT
        if not plain or alignment & (alignment - 1):
            raise self._error(f"the alignment {str(alignment)[:80]} is not a power of two")
        return int(alignment)

    def _tensors(self, count: int, alignment: int) -> dict[str, Tensor]:
        found: list[tuple[str, Kind, tuple[int, ...], int, int]] = []
        for _ in range(count):
            name = self._text(MAX_NAME, "a tensor's name")
            dimensions = self._number(_U32, name)
            if not 1 <= dimensions <= 4:
                raise self._error(f"the tensor {name!r} has {dimensions} dimensions")
            shape = tuple(self._number(_U64, name) for _ in range(dimensions))
            number = self._number(_U32, name)
            offset = self._number(_U64, name)
            if number not in KINDS:
                raise self._error(f"the tensor {name!r} is of the unknown kind {number}")
            kind = KINDS[number]
            weights = prod(shape)
            if not 0 < weights < 1 << 63 or shape[0] % kind.weights:
                raise self._error(f"the tensor {name!r} has the impossible shape {shape}")
            if offset % alignment:
                raise self._error(f"the tensor {name!r} is not aligned")
            found.append((name, kind, shape[::-1], offset, weights // kind.weights * kind.bytes))
        start = -(-self._position // alignment) * alignment
        tensors: dict[str, Tensor] = {}
        end = start
        for name, kind, shape, offset, size in sorted(found, key=lambda item: item[3]):
            if name in tensors:
                raise self._error(f"the tensor {name!r} appears twice")
            if start + offset < end:
                raise self._error(f"the tensor {name!r} overlaps another one")
            end = start + offset + size
            if end > self._size:
                raise self._error(
                    f"the tensor {name!r} ends at byte {end} of {self._size}: it is cut short"
                )
            tensors[name] = Tensor(name, kind, shape, start + offset, size)
        return tensors

    def _number(self, scalar: struct.Struct, what: str) -> Any:
        return scalar.unpack(self._take(scalar.size, what))[0]

    def _text(self, longest: int, what: str) -> str:
        length = self._number(_U64, what)
        if length > longest:
            raise self._error(f"a text of {length} bytes in {what[:80]!r} is too long")
        try:
            return self._take(length, what).decode()
        except UnicodeDecodeError:
            raise self._error(f"a text in {what[:80]!r} is not UTF-8") from None

    def _take(self, count: int, what: str) -> bytes:
        if count > min(self._size, MAX_HEADER) - self._position:
            raise self._error(f"it ends inside its header, at {what[:80]!r}")
        data = self._file.read(count)
        if len(data) != count:
            raise self._error(f"it became shorter while it was read, at {what[:80]!r}")
        self._position += count
        return data

    def _error(self, reason: str) -> InvalidFileError:
        return InvalidFileError(
            f"{self._name} is not a usable GGUF file: {reason}. Fetch it again from its source, "
            "or choose another file."
        )
