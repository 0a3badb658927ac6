"""The architectures that can be imported: names of tensors and the Hugging Face configuration."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from hyperllama_nb.errors import ForeignFileError, InvalidFileError
from hyperllama_nb.models.gguf import rope
from hyperllama_nb.models.gguf.check import Header, Tensor


class Architecture(NamedTuple):
    """What differs between architectures: the class, the model type, and two habits."""

    name: str
    model_type: str
    permuted: bool
    """Whether llama.cpp stores the rows of attention's q and k in pairs."""
    extra: frozenset[str] = frozenset()
    """Tensors of a layer besides the common ones."""


_BIASES = frozenset({"attn_q.bias", "attn_k.bias", "attn_v.bias"})
_NORMS = frozenset({"attn_q_norm.weight", "attn_k_norm.weight"})

ARCHITECTURES = {
    "llama": Architecture("LlamaForCausalLM", "llama", permuted=True),
    "qwen2": Architecture("Qwen2ForCausalLM", "qwen2", permuted=False, extra=_BIASES),
    "qwen3": Architecture("Qwen3ForCausalLM", "qwen3", permuted=False, extra=_NORMS),
}

_GLOBAL = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_COMMON = frozenset(f"{part}.weight" for part in _LAYER) - _NORMS


class Shape(NamedTuple):
    """The sizes of a model, read from its metadata and checked."""

    architecture: Architecture
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_dim: int
    context_length: int
    vocab_size: int
    epsilon: float
    theta: float
    tied: bool
    rope_scaling: dict[str, Any] | None


def read_shape(header: Header, rope_factors: tuple[float, ...] | None = None) -> Shape:
    """Return the sizes of the model that a header describes.

    Raises InvalidFileError if the sizes, the tensors and their shapes do not agree, and
    ForeignFileError if the architecture or something in it cannot be imported.
    """
    family = header.metadata.get("general.architecture")
    architecture = ARCHITECTURES.get(family) if isinstance(family, str) else None
    if architecture is None:
        raise ForeignFileError(
            f"The GGUF file's architecture {str(family)[:80]!r} cannot be imported (known: "
            f"{', '.join(ARCHITECTURES)}). Pull the model's own repository with "
            "hf:organisation/repository instead."
        )
    read = _Metadata(header.metadata, str(family))
    hidden, heads = read.size("embedding_length"), read.size("attention.head_count")
    embedding = header.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2 or hidden % heads:
        raise InvalidFileError(
            "The GGUF file has no token embeddings, or heads that do not divide its width. "
            "Choose a complete file."
        )
    shape = Shape(
        architecture=architecture,
        layers=read.size("block_count"),
        hidden=hidden,
        feed_forward=read.size("feed_forward_length"),
        heads=heads,
        kv_heads=read.size("attention.head_count_kv", heads),
        head_dim=read.size("attention.key_length", hidden // heads),
        context_length=read.size("context_length"),
        vocab_size=embedding.shape[0],
        epsilon=read.number("attention.layer_norm_rms_epsilon", 1e-5),
        theta=read.number("rope.freq_base", 10000.0),
        tied="output.weight" not in header.tensors,
        rope_scaling=None,
    )
    if read.size("rope.dimension_count", shape.head_dim) != shape.head_dim or shape.head_dim % 2:
        raise ForeignFileError(
            "The GGUF file rotates a part of each head only, which cannot be imported. Pull the "
            "model's own repository with hf:organisation/repository instead."
        )
    _check_tensors(header.tensors, shape)
    kind, factor = read.get("rope.scaling.type"), read.number("rope.scaling.factor", 1.0)
    scaled = rope.scaling(kind, factor, rope_factors, shape.theta, shape.head_dim)
    return shape._replace(rope_scaling=scaled)


def hugging_face_name(name: str) -> str:
    """Return the name of a tensor in a Hugging Face checkpoint."""
    if name in _GLOBAL:
        return _GLOBAL[name]
    _, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{_LAYER[part]}.{kind}"


def config(shape: Shape, dtype: str) -> dict[str, Any]:
    """Return the `config.json` of the model, without the token ids."""
    content: dict[str, Any] = {
        "architectures": [shape.architecture.name],
        "model_type": shape.architecture.model_type,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.context_length,
        "rms_norm_eps": shape.epsilon,
        "rope_theta": shape.theta,
        "rope_scaling": shape.rope_scaling,
        "vocab_size": shape.vocab_size,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": shape.tied,
        "use_cache": True,
        "torch_dtype": dtype,
    }
    if shape.architecture.model_type == "llama":
        content["mlp_bias"] = False
    else:
        content["use_sliding_window"] = False
    return content


class _Metadata:
    """Typed access to the keys of one architecture."""

    def __init__(self, metadata: Mapping[str, Any], family: str) -> None:
        self._metadata, self._family = metadata, family

    def get(self, key: str) -> Any:
        return self._metadata.get(f"{self._family}.{key}")

    def size(self, key: str, default: int | None = None) -> int:
        value = self.get(key)
        value = default if value is None else value
        if type(value) is not int or not 0 < value < 1 << 31:
            raise InvalidFileError(
                f"The GGUF file's {self._family}.{key} is {str(value)[:80]}, which is no size that "
                "can be imported. Choose another file."
            )
        return value

    def number(self, key: str, default: float) -> float:
        value = self.get(key)
        value = default if value is None else value
        if type(value) not in {int, float} or not math.isfinite(value) or value <= 0:
            raise InvalidFileError(
                f"The GGUF file's {self._family}.{key} is {str(value)[:80]}, and must be a "
                "positive number. Choose another file."
            )
        # The file holds 32 bits; seven digits give back the number that was meant.
        return float(f"{value:.7g}")


def _check_tensors(tensors: Mapping[str, Tensor], shape: Shape) -> None:
    """Raise InvalidFileError unless exactly the expected tensors are there, in their shapes.

    It is ForeignFileError where there are other ones: a variant of the architecture.
    """
    expected: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (shape.vocab_size, shape.hidden),
        "output_norm.weight": (shape.hidden,),
    }
    if not shape.tied:
        expected["output.weight"] = (shape.vocab_size, shape.hidden)
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    sizes: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (shape.hidden,),
        "attn_q.weight": (query, shape.hidden),
        "attn_k.weight": (key, shape.hidden),
        "attn_v.weight": (key, shape.hidden),
        "attn_output.weight": (shape.hidden, query),
        "attn_q.bias": (query,),
        "attn_k.bias": (key,),
        "attn_v.bias": (key,),
        "attn_q_norm.weight": (shape.head_dim,),
        "attn_k_norm.weight": (shape.head_dim,),
        "ffn_norm.weight": (shape.hidden,),
        "ffn_gate.weight": (shape.feed_forward, shape.hidden),
        "ffn_up.weight": (shape.feed_forward, shape.hidden),
        "ffn_down.weight": (shape.hidden, shape.feed_forward),
    }
    if shape.layers > len(tensors):
        raise InvalidFileError(
            f"The GGUF file announces {shape.layers} layers and has {len(tensors)} tensors. "
            "Choose a complete file."
        )
    for layer in range(shape.layers):
        for part in _COMMON | shape.architecture.extra:
            expected[f"blk.{layer}.{part}"] = sizes[part]
    found = {name: tensor.shape for name, tensor in tensors.items()}
    wrong = sorted(name for name in expected | found if expected.get(name) != found.get(name, ()))
    if wrong:
        kind = ForeignFileError if found.keys() - expected.keys() else InvalidFileError
        raise kind(
            f"The GGUF file's tensors are not those of a {shape.architecture.name} with "
            f"{shape.layers} layers: {', '.join(wrong[:3])} and {max(len(wrong) - 3, 0)} more are "
            "missing, unexpected or of another shape. Pull the model's own repository with "
            "hf:organisation/repository instead."
        )
