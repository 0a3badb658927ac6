"""Small GGUF files, written byte by byte so that each byte can also be wrong."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

F32 = 0
HIDDEN, FEED_FORWARD, HEADS, KV_HEADS, LAYERS = 32, 64, 4, 2, 2
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
)

TensorBytes = tuple[str, int, tuple[int, ...], bytes]
"""Name, kind, shape as in numpy, data."""


def text(value: str) -> bytes:
    """Return a GGUF string."""
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(item: Any) -> bytes:
    """Return a typed GGUF value."""
    if isinstance(item, bool):
        return struct.pack("<I?", 7, item)
    if isinstance(item, int):
        return struct.pack("<II", 4, item)
    if isinstance(item, float):
        return struct.pack("<If", 6, item)
    if isinstance(item, str):
        return struct.pack("<I", 8) + text(item)
    kind = 8 if isinstance(item[0], str) else 5
    packed = [text(e) if kind == 8 else struct.pack("<i", e) for e in item]
    return struct.pack("<IIQ", 9, kind, len(item)) + b"".join(packed)


def gguf(metadata: Mapping[str, Any], tensors: Sequence[TensorBytes], *, version: int = 3) -> bytes:
    """Return a whole file with an alignment of 32."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, item in metadata.items():
        head += text(key) + value(item)
    data = b""
    for name, kind, shape, content in tensors:
        head += text(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", size) for size in reversed(shape))
        head += struct.pack("<IQ", kind, len(data))
        data += content + b"\0" * (-len(content) % 32)
    return head + b"\0" * (-len(head) % 32) + data


def vocabulary() -> dict[str, Any]:
    """Return the metadata of a byte-level tokenizer with two merges."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, "he", "hel"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3, 3, *[1] * (len(tokens) - 3)],
        "tokenizer.ggml.merges": ["h e", "he l"],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }


def llama_metadata() -> dict[str, Any]:
    """Return the metadata of a tiny Llama model."""
    return {
        "general.architecture": "llama",
        "general.license": "apache-2.0",
        "llama.block_count": LAYERS,
        "llama.context_length": 128,
        "llama.embedding_length": HIDDEN,
        "llama.feed_forward_length": FEED_FORWARD,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KV_HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 100000.0,
        **vocabulary(),
    }


def llama_shapes(vocab_size: int) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a tiny Llama model's tensors."""
    key = HIDDEN * KV_HEADS // HEADS
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (vocab_size, HIDDEN)}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.attn_norm.weight": (HIDDEN,),
            f"blk.{layer}.attn_q.weight": (HIDDEN, HIDDEN),
            f"blk.{layer}.attn_k.weight": (key, HIDDEN),
            f"blk.{layer}.attn_v.weight": (key, HIDDEN),
            f"blk.{layer}.attn_output.weight": (HIDDEN, HIDDEN),
            f"blk.{layer}.ffn_norm.weight": (HIDDEN,),
            f"blk.{layer}.ffn_gate.weight": (FEED_FORWARD, HIDDEN),
            f"blk.{layer}.ffn_up.weight": (FEED_FORWARD, HIDDEN),
            f"blk.{layer}.ffn_down.weight": (HIDDEN, FEED_FORWARD),
        }
    return {**shapes, "output_norm.weight": (HIDDEN,)}


def llama_weights(vocab_size: int) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Return the weights of a tiny Llama model, the same at each call."""
    random = np.random.default_rng(7)
    shapes = llama_shapes(vocab_size).items()
    return {name: random.standard_normal(shape, np.float32) for name, shape in shapes}


def tiny_llama(metadata: Mapping[str, Any] | None = None) -> bytes:
    """Return a tiny Llama model in float32 with tied embeddings."""
    metadata = llama_metadata() if metadata is None else metadata
    weights = llama_weights(len(metadata["tokenizer.ggml.tokens"]))
    return gguf(
        metadata, [(name, F32, array.shape, array.tobytes()) for name, array in weights.items()]
    )


def write(path: Path, content: bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(content)
    return path
