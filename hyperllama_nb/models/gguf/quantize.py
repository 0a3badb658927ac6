"""Re-encode the matrices of a GGUF file as Q4_0, a bounded piece at a time."""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hyperllama_nb.errors import InvalidFileError, RequestError
from hyperllama_nb.models.gguf.architectures import Shape
from hyperllama_nb.models.gguf.check import Header, Tensor
from hyperllama_nb.models.gguf.convert import pieces, read_exactly
from hyperllama_nb.models.gguf.kinds import KINDS
from hyperllama_nb.models.work import CHUNK, Staged, Work

ENCODINGS = ("q4_0",)
"""What weights can be re-encoded to."""

FILE = "model-q4_0.gguf"
"""The result's name; MAX takes the encoding from it."""

_Q4_0, _F32 = 2, 0
_OWN = {"general.file_type": 2, "general.quantization_version": 2}
"""The keys that are written anew: mostly Q4_0, in the second layout of its blocks."""

_HEAD = struct.Struct("<4sIQQ")
_U32_TYPE = 4


def parse(text: str) -> str:
    """Return an encoding as it is written here: `Q4_0` is `q4_0`.

    Raises RequestError for one that nothing can be re-encoded to.
    """
    found = text.strip().lower()
    if found not in ENCODINGS:
        raise RequestError(
            f"unsupported quantization type {text[:40]!r}: weights can be re-encoded as "
            f"{' or '.join(ENCODINGS)}. For another one, pull a GGUF file that has it."
        )
    return found


def check(header: Header, shape: Shape) -> None:
    """Raise InvalidFileError unless the model can be Q4_0 and be run so."""
    if shape.architecture.model_type != "llama":
        raise InvalidFileError(
            f"Only models of Llama's architecture run with four-bit weights, and this is a "
            f"{shape.architecture.name}. Pull it without a quantization: it becomes float32, or "
            "bfloat16 on a GPU."
        )
    block = KINDS[_Q4_0].weights
    for tensor in header.tensors.values():
        if _is_matrix(tensor) and tensor.shape[-1] % block:
            raise InvalidFileError(
                f"The rows of {tensor.name} have {tensor.shape[-1]} weights, and q4_0 takes them "
                f"in blocks of {block}. Pull the model without a quantization."
            )


def size_on_disk(header: Header) -> int:
    """Return the bytes of the result, to within its padding."""
    spans = sum(end - start for start, end in header.spans.values())
    return spans + sum(_size(tensor) + 128 for tensor in header.tensors.values())


def quantize(path: Path, header: Header, work: Work) -> Staged:
    """Stage the file with every matrix in Q4_0 and every vector in float32.

    The metadata and the order of rows stay as they are, so that every reader of GGUF takes it;
    matrices that are Q4_0 are copied. Peak memory is one piece.
    Raises InvalidFileError if the file changes meanwhile.
    """
    alignment = int(header.metadata.get("general.alignment", 32))
    data = sum(_padded(_size(tensor), alignment) for tensor in header.tensors.values())
    with work.writer(FILE, "weights") as writer, path.open("rb") as file:
        writer.write(_head(file, header, alignment))
        writer.write(bytes(-writer.size % alignment))
        total = writer.size + data
        for tensor in header.tensors.values():
            for piece in _encoded(file, tensor):
                writer.write(piece)
                work.transfer("quantizing to q4_0", None, total, writer.size)
            writer.write(bytes(-writer.size % alignment))
        work.transfer("quantizing to q4_0", None, total, writer.size)
    return writer.staged


def _head(file: BinaryIO, header: Header, alignment: int) -> bytes:
    """Return everything before the tensors' data, without the padding at its end."""
    parts = [_HEAD.pack(b"GGUF", 3, len(header.tensors), len(header.spans.keys() | _OWN.keys()))]
    for key, (start, end) in header.spans.items():
        if key not in _OWN:
            file.seek(start)
            parts.append(read_exactly(file, end - start))
    for key, value in _OWN.items():
        parts.append(_text(key) + struct.pack("<II", _U32_TYPE, value))
    offset = 0
    for tensor in header.tensors.values():
        sizes = tensor.shape[::-1]
        kind = _Q4_0 if _is_matrix(tensor) else _F32
        parts.append(_text(tensor.name))
        parts.append(struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes))
        parts.append(struct.pack("<IQ", kind, offset))
        offset += _padded(_size(tensor), alignment)
    return b"".join(parts)


def _encoded(file: BinaryIO, tensor: Tensor) -> Iterator[bytes | memoryview]:
    """Yield the bytes of one tensor of the result."""
    import gguf
    import numpy as np

    if tensor.kind is KINDS[_Q4_0] and _is_matrix(tensor):
        file.seek(tensor.offset)
        for start in range(0, tensor.size, CHUNK):
            yield read_exactly(file, min(CHUNK, tensor.size - start))
        return
    for piece in pieces(file, tensor, None):
        plain = np.ascontiguousarray(piece, "<f4")
        if _is_matrix(tensor):
            # The library divides by a block's scale, and puts 0 where the whole block is 0.
            with np.errstate(divide="ignore", invalid="ignore"):
                plain = gguf.quantize(plain, gguf.GGMLQuantizationType.Q4_0)
        yield plain.reshape(-1).view(np.uint8).data


def _is_matrix(tensor: Tensor) -> bool:
    return len(tensor.shape) > 1


def _size(tensor: Tensor) -> int:
    kind = KINDS[_Q4_0 if _is_matrix(tensor) else _F32]
    return math.prod(tensor.shape) // kind.weights * kind.bytes


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data
