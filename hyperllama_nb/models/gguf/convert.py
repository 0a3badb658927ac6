"""Stream a GGUF's tensors into a safetensors file, a bounded piece at a time."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from hyperllama_nb.errors import ForeignFileError, InvalidFileError
from hyperllama_nb.models.gguf.architectures import Shape, hugging_face_name
from hyperllama_nb.models.gguf.check import Header, Tensor
from hyperllama_nb.models.work import Staged, Work

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WIDTHS = {"float32": 4, "bfloat16": 2}
"""Bytes of one weight in what is written."""

_NAMES = {"float32": "F32", "bfloat16": "BF16"}

_PIECE = 1 << 19
"""Weights that are converted at a time."""

_PLAIN = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}

CONVERTIBLE = frozenset(_PLAIN) | {
    *("BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
    *("IQ4_NL", "IQ4_XS", "IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_S", "IQ1_M"),
    *("TQ1_0", "TQ2_0", "MXFP4"),
}
"""Kinds of tensors that can become plain numbers."""


def check_kinds(header: Header) -> None:
    """Raise ForeignFileError if there is a tensor of a kind that cannot be converted."""
    foreign = {tensor.kind.name for tensor in header.tensors.values()} - CONVERTIBLE
    if foreign:
        raise ForeignFileError(
            f"The GGUF file has tensors of the kind {', '.join(sorted(foreign))}, which cannot be "
            "converted. Choose a file of another quantization."
        )


def size_on_disk(header: Header, encoding: str) -> int:
    """Return the bytes of the safetensors file, to within its header's padding."""
    weights = sum(math.prod(tensor.shape) for tensor in header.tensors.values())
    return weights * WIDTHS[encoding] + len(_json(header, encoding)) + 16


def convert(path: Path, header: Header, shape: Shape, encoding: str, work: Work) -> Staged:
    """Stage `model.safetensors` with the file's tensors in `encoding` (float32, bfloat16).

    Peak memory is one quantised tensor and one piece; nothing larger is ever held.
    Raises InvalidFileError if the file changes meanwhile.
    """
    text = _json(header, encoding)
    text += b" " * (-len(text) % 8)
    total = len(text) + 8 + sum(_bytes(tensor, encoding) for tensor in header.tensors.values())
    status = f"importing as {encoding}"
    with work.writer("model.safetensors", "weights") as writer, path.open("rb") as file:
        writer.write(len(text).to_bytes(8, "little"))
        writer.write(text)
        for tensor in header.tensors.values():
            for piece in pieces(file, tensor, _order(tensor, shape)):
                writer.write(_encode(piece, encoding))
                work.transfer(status, None, total, writer.size)
    return writer.staged


def _json(header: Header, encoding: str) -> bytes:
    """Return the header of the safetensors file."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in header.tensors.values():
        end = offset + _bytes(tensor, encoding)
        entries[hugging_face_name(tensor.name)] = {
            "dtype": _NAMES[encoding],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    return json.dumps(entries, separators=(",", ":")).encode()


def _bytes(tensor: Tensor, encoding: str) -> int:
    return math.prod(tensor.shape) * WIDTHS[encoding]


def _order(tensor: Tensor, shape: Shape) -> "NDArray[np.intp] | None":
    """Return the rows in Hugging Face's order, or None where the file has them so.

    llama.cpp rotates neighbouring rows of a head, Hugging Face the halves of a head: row
    `2 * i + half` of a head in the file is row `half * head_dim / 2 + i` in the checkpoint.
    """
    heads = {"attn_q": shape.heads, "attn_k": shape.kv_heads}.get(tensor.name.split(".")[-2])
    if heads is None or not shape.architecture.permuted:
        return None
    import numpy as np

    rows = np.arange(tensor.shape[0]).reshape(heads, shape.head_dim // 2, 2)
    return rows.swapaxes(1, 2).reshape(-1)


def pieces(
    file: BinaryIO, tensor: Tensor, order: "NDArray[np.intp] | None"
) -> "Iterator[NDArray[np.float32]]":
    """Yield the tensor's weights as float32, a bounded number of whole rows at a time."""
    import numpy as np

    rows = math.prod(tensor.shape[:-1])
    stride = tensor.size // rows
    step = max(1, _PIECE // tensor.shape[-1])
    decode = _decoder(tensor)
    file.seek(tensor.offset)
    whole = None if order is None else _rows(read_exactly(file, tensor.size), stride)
    for start in range(0, rows, step):
        count = min(step, rows - start)
        if order is not None and whole is not None:
            data = np.take(whole, order[start : start + count], axis=0)
        else:
            data = _rows(read_exactly(file, count * stride), stride)
        yield decode(data)


def read_exactly(file: BinaryIO, count: int) -> bytes:
    """Return the next `count` bytes; raises InvalidFileError if there are fewer."""
    data = file.read(count)
    if len(data) != count:
        raise InvalidFileError(
            "The GGUF file became shorter while it was imported. Pull again when it is at rest."
        )
    return data


def _rows(data: bytes, stride: int) -> "NDArray[np.uint8]":
    import numpy as np

    return np.frombuffer(data, np.uint8).reshape(-1, stride)


def _decoder(tensor: Tensor) -> "Callable[[NDArray[np.uint8]], NDArray[np.float32]]":
    """Return what makes float32 of rows of raw bytes."""
    import numpy as np

    name = tensor.kind.name
    if name in _PLAIN:
        plain = np.dtype(_PLAIN[name])
        return lambda data: data.view(plain).astype(np.float32, copy=False)
    import gguf

    kind = gguf.GGMLQuantizationType[name]

    def decode(data: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        weights: NDArray[np.float32] = gguf.dequantize(data, kind)
        return weights

    return decode


def _encode(piece: "NDArray[np.float32]", encoding: str) -> memoryview:
    """Return the bytes of float32 weights, rounded to the nearest even where they get shorter."""
    import numpy as np

    if encoding == "float32":
        return np.ascontiguousarray(piece, "<f4").reshape(-1).view(np.uint8).data
    bits = np.ascontiguousarray(piece, "<f4").view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    # Adding the rounding to a NaN could turn it into an infinity.
    halves = np.where(np.isnan(piece), (bits >> 16) | 0x40, rounded).astype("<u2")
    return halves.reshape(-1).view(np.uint8).data
