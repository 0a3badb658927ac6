"""No GGUF file, however damaged, does more than raise InvalidFileError."""

import struct
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hyperllama_nb.errors import InvalidFileError
from hyperllama_nb.models.gguf import check, tokenizer
from hyperllama_nb.models.gguf.architectures import read_shape
from hyperllama_nb.models.gguf.check import read_header
from hyperllama_nb.models.gguf.kinds import KINDS
from tests.models import gguf_files as files

WHOLE = files.tiny_llama()
HEADER = len(WHOLE) - sum(
    array.nbytes + -array.nbytes % 32 for array in files.llama_weights(261).values()
)

tmp_path_is_shared = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def header_of(tmp_path: Path, content: bytes) -> check.Header:
    return read_header(files.write(tmp_path / "a.gguf", content))


def refuse(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(InvalidFileError, match=reason):
        header_of(tmp_path, content)


def test_kinds_are_those_of_the_gguf_package() -> None:
    theirs = {
        int(kind): (kind.name, *size)
        for kind, size in gguf.GGML_QUANT_SIZES.items()
        if int(kind) in KINDS
    }
    assert {number: tuple(kind) for number, kind in KINDS.items()} == theirs


def test_header_is_what_the_gguf_package_reads(tmp_path: Path) -> None:
    path = files.write(tmp_path / "a.gguf", WHOLE)
    header, reader = read_header(path), gguf.GGUFReader(path)
    theirs = {
        tensor.name: (
            tensor.tensor_type.name,
            tuple(int(size) for size in reversed(tensor.shape)),
            tensor.data_offset,
            tensor.n_bytes,
        )
        for tensor in reader.tensors
    }
    ours = {
        name: (tensor.kind.name, tensor.shape, tensor.offset, tensor.size)
        for name, tensor in header.tensors.items()
    }
    assert ours == theirs
    for key, value in header.metadata.items():
        assert reader.fields[key].contents() == value


@tmp_path_is_shared
@given(cut=st.integers(0, len(WHOLE) - 1))
@example(cut=0)
@example(cut=HEADER)
def test_every_truncation_is_refused(tmp_path: Path, cut: int) -> None:
    refuse(tmp_path, WHOLE[:cut], "not a usable GGUF file")


def use(tmp_path: Path, content: bytes) -> None:
    """Read as far as an import reads before it writes anything."""
    header = header_of(tmp_path, content)
    shape = read_shape(header)
    tokenizer.build(header.metadata, shape.context_length)


@tmp_path_is_shared
@given(
    changes=st.lists(
        st.tuples(st.integers(0, HEADER - 1), st.integers(0, 255)), min_size=1, max_size=4
    )
)
def test_changed_bytes_are_read_or_refused(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    content = bytearray(WHOLE)
    for position, byte in changes:
        content[position] = byte
    with suppress(InvalidFileError):
        use(tmp_path, bytes(content))


@tmp_path_is_shared
@given(
    position=st.integers(0, HEADER - 9),
    number=st.sampled_from([0, 1, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]),
)
def test_huge_numbers_allocate_nothing(tmp_path: Path, position: int, number: int) -> None:
    content = bytearray(WHOLE)
    content[position : position + 8] = struct.pack("<Q", number)
    tracemalloc.start()
    try:
        use(tmp_path, bytes(content))
    except InvalidFileError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20 * len(WHOLE)


@tmp_path_is_shared
@given(data=st.binary(max_size=200))
def test_any_bytes_after_the_magic_are_read_or_refused(tmp_path: Path, data: bytes) -> None:
    with suppress(InvalidFileError):
        use(tmp_path, b"GGUF\3\0\0\0" + data)


def announce(tensors: int, keys: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


def one_key(key: str, typed: bytes) -> bytes:
    return announce(0, 1) + files.text(key) + typed


def one_tensor(
    name: str = "t", shape: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0
) -> bytes:
    head = announce(1, 0) + files.text(name) + struct.pack("<I", len(shape))
    head += b"".join(struct.pack("<Q", size) for size in reversed(shape))
    head += struct.pack("<IQ", kind, offset)
    return head + b"\0" * (-len(head) % 32) + b"\0" * 128


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"GGML" + b"\0" * 20, "letters GGUF"),
        (announce(0, 0, 1), "version 1 "),
        (announce(0, 0, 3 << 24), "big-endian"),
        (announce(1 << 20, 0), "announces"),
        (announce(0, 1 << 20), "announces"),
        (one_key("k", struct.pack("<I", 99)), "unknown type 99"),
        (one_key("k", struct.pack("<IQ", 8, 1 << 40)), "too long"),
        (one_key("k", struct.pack("<IQ", 8, 65_537) + b"x" * 65_537), "too long"),
        (one_key("k", struct.pack("<IIQ", 9, 0, 1 << 62)), "more than"),
        (one_key("k", struct.pack("<IIQ", 9, 10, 1 << 20)), "ends inside"),
        (one_key("k", struct.pack("<IIQIQIQ", 9, 9, 1, 9, 1, 9, 1)), "nested"),
        (one_key("k", struct.pack("<IQ", 8, 2) + b"\xff\xfe"), "UTF-8"),
        (one_key("general.alignment", struct.pack("<II", 4, 0)), "alignment"),
        (one_key("general.alignment", struct.pack("<II", 4, 48)), "alignment"),
        (one_key("general.alignment", struct.pack("<II", 4, 8192)), "alignment"),
        (one_key("general.alignment", struct.pack("<I", 8) + files.text("32")), "alignment"),
        (announce(0, 2) + (files.text("k") + struct.pack("<II", 4, 1)) * 2, "twice"),
        (one_tensor("x" * 65), "too long"),
        (one_tensor(shape=()), "0 dimensions"),
        (one_tensor(shape=(1, 1, 1, 1, 1)), "5 dimensions"),
        (one_tensor(shape=(0,)), "impossible shape"),
        (one_tensor(shape=(1 << 32, 1 << 32)), "impossible shape"),
        (one_tensor(shape=(33,), kind=2), "impossible shape"),
        (one_tensor(kind=4), "unknown kind 4"),
        (one_tensor(offset=1), "not aligned"),
        (one_tensor(offset=1 << 62), "cut short"),
        (one_tensor(shape=(64,)), "cut short"),
    ],
)
def test_limits(tmp_path: Path, content: bytes, reason: str) -> None:
    refuse(tmp_path, content, reason)


def tensors(*names: str, offset: int) -> bytes:
    head = announce(len(names), 0)
    for number, name in enumerate(names):
        head += files.text(name) + struct.pack("<IQIQ", 1, 16, 0, number * offset)
    return head + b"\0" * (-len(head) % 32) + b"\0" * 256


def test_overlapping_and_repeated_tensors(tmp_path: Path) -> None:
    assert len(header_of(tmp_path, tensors("a", "b", offset=64)).tensors) == 2
    refuse(tmp_path, tensors("a", "b", offset=32), "overlaps")
    refuse(tmp_path, tensors("a", "b", offset=0), "overlaps")
    refuse(tmp_path, tensors("a", "a", offset=64), "twice")


def test_long_template_is_allowed(tmp_path: Path) -> None:
    metadata: dict[str, Any] = {"tokenizer.chat_template": "x" * 100_000}
    assert header_of(tmp_path, files.gguf(metadata, [])).metadata == metadata
