"""What a Llama checkpoint says about itself; read by the backend too, with the standard library."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ARCHITECTURE = "LlamaForCausalLM"


class UnfitError(Exception):
    """A model that this engine does not run; the message completes "it does not run here: …"."""


@dataclass(frozen=True)
class Config:
    """The sizes of a model of Llama's architecture."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    """The longest sequence that the model was made for, in tokens."""
    epsilon: float
    theta: float
    scaling: dict[str, Any] | None


def read_config(directory: Path) -> Config:
    """Read `config.json`; raises UnfitError, in words, for what the graph here does not compute."""
    found = json.loads((directory / "config.json").read_text("utf-8"))
    architectures = found.get("architectures") or []
    if architectures != [ARCHITECTURE]:
        raise UnfitError(f"the architecture {', '.join(architectures)} is not {ARCHITECTURE}")
    for key, expected in (("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False)):
        if found.get(key, expected) != expected:
            raise UnfitError(f"its {key} is {found[key]!r}")
    rope = found.get("rope_parameters") or {}
    scaling = found.get("rope_scaling") or (rope if rope_kind(rope) != "default" else None)
    if scaling is not None and rope_kind(scaling) not in {"default", "linear", "llama3"}:
        raise UnfitError(f"its rope_scaling is {rope_kind(scaling)!r}")
    hidden, heads = int(found["hidden_size"]), int(found["num_attention_heads"])
    return Config(
        layers=int(found["num_hidden_layers"]),
        hidden=hidden,
        feed_forward=int(found["intermediate_size"]),
        heads=heads,
        kv_heads=int(found.get("num_key_value_heads") or heads),
        head_dim=int(found.get("head_dim") or hidden // heads),
        vocab=int(found["vocab_size"]),
        context=int(found["max_position_embeddings"]),
        epsilon=float(found["rms_norm_eps"]),
        theta=float(found.get("rope_theta") or rope.get("rope_theta") or 10000.0),
        scaling=scaling,
    )


def rope_kind(scaling: dict[str, Any]) -> str:
    """Return how positions are scaled: "default" for not at all."""
    return str(scaling.get("rope_type") or scaling.get("type") or "default")
