"""What happens where a MAX has no room for Q4_0: float32 instead; a file for MAX's interpreter."""

import os
import shutil
import sys
from itertools import pairwise
from pathlib import Path

WORDS = "hyperllama: four-bit weights do not fit this MAX"
"""How the sentence begins that tells of it in the log."""

_ENCODING, _WEIGHTS, _MODULE = "--quantization-encoding", "--weight-path", "--custom-architectures"


class MisfitError(ImportError):
    """MAX lacks a name that four-bit weights need; the message says which."""


def find(error: BaseException) -> MisfitError | None:
    """Return the misfit that MAX's error came from, if it did."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, MisfitError):
        cause = cause.__cause__
    return cause


def plain(arguments: list[str], directory: Path) -> list[str]:
    """Return MAX's arguments for the same model in float32, whose weights are written first.

    They are written into `directory`, and take four bytes for each weight. Raises OSError.
    """
    found = dict(pairwise(arguments))
    changed = {
        _ENCODING: "float32",
        _WEIGHTS: str(dequantize(Path(found[_WEIGHTS]), directory / "model-f32.gguf")),
    }
    kept: list[str] = []
    before = ""
    for argument in arguments:
        if _MODULE not in (argument, before):
            kept.append(changed.get(before, argument))
        before = argument
    return kept


def dequantize(source: Path, target: Path) -> Path:
    """Write a GGUF's tensors in float32, one at a time, and return the place.

    The metadata stays behind: MAX takes nothing from it. Raises OSError where the disk is full.
    """
    import gguf
    import numpy as np

    tensors = gguf.GGUFReader(source).tensors
    size = 4 * sum(int(tensor.n_elements) for tensor in tensors)
    free = shutil.disk_usage(target.parent).free
    if free < size:
        raise OSError(
            f"No space left on device: float32 weights take {size >> 20} MiB in {target.parent}, "
            f"and {free >> 20} MiB are free"
        )
    writer = gguf.GGUFWriter(target, "llama")
    for tensor in tensors:
        shape, size = tensor.shape[::-1].tolist(), 4 * int(tensor.n_elements)
        writer.add_tensor_info(tensor.name, shape, np.dtype(np.float32), size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(gguf.dequantize(tensor.data, tensor.tensor_type))
    writer.close()
    return target


def fall_back(error: BaseException, arguments: list[str]) -> list[str]:
    """Return the arguments to run MAX with after `error`; raises it anew if it is another one."""
    misfit = find(error)
    if misfit is None:
        raise error
    sys.stderr.write(f"{WORDS} ({misfit}): running in float32, which is slower and larger.\n")
    sys.stderr.flush()
    return plain(arguments, Path(os.environ["TMPDIR"]))
