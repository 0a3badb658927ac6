"""Reading a checkpoint's weights as the graph wants them: stacked where they meet one input."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gguf import GGMLQuantizationType, dequantize
from max.dtype import DType
from max.graph.quantization import QuantizationEncoding
from max.graph.weights import WeightData, load_weights
from numpy.typing import NDArray

from .config import Config, UnfitError

Encoding = Literal["float32", "q4_0"]

_GGUF = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Parts of names in a GGUF file, by their names in a Hugging Face checkpoint."""


@dataclass(frozen=True)
class Checkpoint:
    """The graph's weights by name, what their matrices are in, and how q and k lie.

    `interleaved` tells that pairs which rotate together are neighbours, as llama.cpp stores them;
    otherwise they are the two halves of a head.
    """

    arrays: dict[str, NDArray[Any]]
    encoding: Encoding
    interleaved: bool


def read_checkpoint(directory: Path, config: Config) -> Checkpoint:
    """Read the safetensors files of a directory, or else its GGUF file.

    Matrices are float32, or Q4_0 as [rows, bytes of a row]. Raises UnfitError for other ones.
    """
    safetensors = sorted(directory.glob("*.safetensors"))
    if safetensors:
        found = load_weights(safetensors)
        return _collect(config, lambda name: _plain(found[f"{name}.weight"].data()), "float32")
    ggufs = sorted(directory.glob("*.gguf"))
    if not ggufs:
        raise UnfitError("the directory has neither safetensors nor a GGUF file")
    file = load_weights(ggufs[:1])
    return _collect(config, lambda name: _packed(file[f"{_in_gguf(name)}.weight"].data()), "q4_0")


def _collect(config: Config, read: Callable[[str], NDArray[Any]], encoding: Encoding) -> Checkpoint:
    return Checkpoint(
        dict(_arrays(config, read, encoding)), encoding, interleaved=encoding == "q4_0"
    )


def _arrays(
    config: Config, read: Callable[[str], NDArray[Any]], encoding: Encoding
) -> Iterator[tuple[str, NDArray[Any]]]:
    embedding = read("model.embed_tokens")
    try:
        head = read("lm_head")
    except KeyError:
        head = embedding
    yield "head", head
    if encoding == "q4_0":
        yield "embedding", dequantize(embedding, GGMLQuantizationType.Q4_0)
    elif head is not embedding:
        yield "embedding", embedding
    yield "norm", _norm(read("model.norm"))
    for index in range(config.layers):
        layer = f"model.layers.{index}"
        yield f"{index}.attention_norm", _norm(read(f"{layer}.input_layernorm"))
        yield (
            f"{index}.qkv",
            np.concatenate([read(f"{layer}.self_attn.{part}_proj") for part in "qkv"]),
        )
        yield f"{index}.output", read(f"{layer}.self_attn.o_proj")
        yield f"{index}.feed_forward_norm", _norm(read(f"{layer}.post_attention_layernorm"))
        yield (
            f"{index}.gate_up",
            np.concatenate([read(f"{layer}.mlp.{part}_proj") for part in ("gate", "up")]),
        )
        yield f"{index}.down", read(f"{layer}.mlp.down_proj")


def _in_gguf(name: str) -> str:
    """Return a tensor's name in a GGUF file, without its suffix."""
    if not name.startswith("model.layers."):
        return _GGUF[name]
    _, _, index, part = name.split(".", 3)
    return f"blk.{index}.{_GGUF[part]}"


def _plain(data: WeightData) -> NDArray[np.float32]:
    """Return a tensor as float32; bfloat16 widens exactly."""
    buffer = data.to_buffer()
    if data.dtype == DType.bfloat16:
        halves: NDArray[np.uint16] = buffer.view(DType.uint16).to_numpy()
        return np.left_shift(halves, 16, dtype=np.uint32).view(np.float32)
    if data.dtype != DType.float32:
        raise UnfitError(f"{data.name} is in {data.dtype.name}")
    array: NDArray[np.float32] = buffer.to_numpy()
    return array


def _packed(data: WeightData) -> NDArray[Any]:
    """Return a matrix as the bytes of its rows, a vector as float32."""
    array: NDArray[Any] = np.asarray(data.data)
    if array.ndim == 1 and data.dtype == DType.float32:
        return array
    kind = data.quantization_encoding
    if kind != QuantizationEncoding.Q4_0:
        raise UnfitError(f"{data.name} is in {kind.name if kind else data.dtype.name}")
    rows, width = (int(size) for size in data.shape)
    return array.reshape(rows, width)


def _norm(array: NDArray[Any]) -> NDArray[np.float32]:
    if array.dtype != np.float32:
        raise UnfitError(f"a norm is in {array.dtype}")
    return array
