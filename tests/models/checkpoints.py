"""A tiny checkpoint as a hub repository holds it."""

import json
import struct
from typing import Any

import numpy as np

HIDDEN, LAYERS, VOCABULARY = 16, 1, 300

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 4096,
    "vocab_size": VOCABULARY,
    "torch_dtype": "bfloat16",
}
TEMPLATE = "{% if tools %}{{ tools }}{% endif %}<think></think>{{ messages }}"
CARD = "---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n"


def safetensors(tensors: dict[str, tuple[str, tuple[int, ...], bytes]]) -> bytes:
    """Return a safetensors file."""
    header, data = {}, b""
    for name, (kind, shape, content) in tensors.items():
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": offsets}
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def weights(size: int = 40_000) -> bytes:
    """Return a file with one bfloat16 tensor of `size` rows."""
    data = np.arange(size * HIDDEN, dtype="<u2").tobytes()
    return safetensors({"model.embed_tokens.weight": ("BF16", (size, HIDDEN), data)})


def files(**changed: bytes | None) -> dict[str, bytes]:
    """Return the files of a repository, with some that are not wanted."""
    content: dict[str, bytes | None] = {
        "config.json": json.dumps(CONFIG).encode(),
        "generation_config.json": b"{}",
        "tokenizer.json": b"{}",
        "tokenizer_config.json": json.dumps({"chat_template": TEMPLATE}).encode(),
        "model.safetensors": weights(),
        "README.md": CARD.encode(),
        "LICENSE": b"A licence.",
        "pytorch_model.bin": b"pickle",
        "consolidated.safetensors": b"the same once more",
        "onnx/model.onnx": b"another format",
        ".gitattributes": b"",
        **changed,
    }
    return {name: data for name, data in content.items() if data is not None}
