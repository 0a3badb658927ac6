"""A model directory of a few kilobytes, for tests that need files and no network."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperllama_nb.models.manifest import Manifest
    from hyperllama_nb.models.store import Store

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

CONTEXT = 8192
_HIDDEN, _HEADS, _INNER = 16, 2, 32


def tiny_model(directory: Path, *, context_length: int = CONTEXT) -> Path:
    """Write a Llama model with random weights into `directory`, and return it.

    It is what a model on the Hugging Face hub looks like: config.json, tokenizer.json,
    tokenizer_config.json with a ChatML template, model.safetensors. One token is one byte of
    UTF-8, so that tests can count. `Store.pull("file:DIRECTORY", name="tiny")` takes it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    vocab = _vocabulary()
    _write(directory / "tokenizer.json", _tokenizer(vocab))
    _write(
        directory / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|im_start|>",
            "eos_token": "<|im_end|>",
            "model_max_length": context_length,
            "chat_template": TEMPLATE,
        },
    )
    _write(
        directory / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": _HIDDEN,
            "intermediate_size": _INNER,
            "num_hidden_layers": 1,
            "num_attention_heads": _HEADS,
            "num_key_value_heads": _HEADS,
            "max_position_embeddings": context_length,
            "vocab_size": len(vocab),
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "tie_word_embeddings": True,
            "bos_token_id": vocab["<|im_start|>"],
            "eos_token_id": vocab["<|im_end|>"],
            "torch_dtype": "float32",
        },
    )
    _weights(directory / "model.safetensors", len(vocab))
    return directory


def install_tiny(store: "Store", name: str = "tiny", **fields: Any) -> "Manifest":
    """Put the tiny model into a store without a pull, and return its manifest.

    `fields` replace those of the manifest (`system="…"`, `options={…}`, `context_length=…`).
    """
    from hyperllama_nb.models.manifest import File, Manifest
    from hyperllama_nb.models.names import Name
    from hyperllama_nb.models.work import Fetched, Staged

    store.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.root) as scratch:
        staged = []
        for path in sorted(tiny_model(Path(scratch)).iterdir()):
            digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
            role = _ROLES.get(path.name, "tokenizer")
            staged.append(Staged(File(path.name, digest, path.stat().st_size, role), path))
        known: dict[str, Any] = {
            "source": "test:tiny",
            "revision": "1",
            "architecture": "LlamaForCausalLM",
            "family": "llama",
            "parameters": 6_800,
            "quantization": "F32",
            "encoding": "float32",
            "context_length": CONTEXT,
            "embedding_length": _HIDDEN,
            "layers": 1,
            "kv_heads": _HEADS,
            "head_dim": _HIDDEN // _HEADS,
            "vocab_size": len(_vocabulary()),
            "template": TEMPLATE,
        }
        files = tuple(item.file for item in staged)
        manifest = Manifest(name=Name.parse(name), files=files, **{**known, **fields})
        store.install(Fetched(manifest, tuple(staged)))
    return manifest


_ROLES = {"model.safetensors": "weights", "config.json": "config"}


def _vocabulary() -> dict[str, int]:
    """Return the special tokens and a token for each byte, in byte-level BPE's characters."""
    from tokenizers.pre_tokenizers import ByteLevel

    return {text: i for i, text in enumerate([*SPECIAL, *sorted(ByteLevel.alphabet())])}


def _tokenizer(vocab: dict[str, int]) -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    added = [
        {
            "id": vocab[text],
            "content": text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for text in SPECIAL
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {**byte_level, "use_regex": False},
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": False},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    }


def _weights(path: Path, vocab_size: int) -> None:
    """Write float32 weights, the same in every run."""
    import numpy as np
    from safetensors.numpy import save_file

    random = np.random.default_rng(0)
    layer = "model.layers.0"
    square = (_HIDDEN, _HIDDEN)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocab_size, _HIDDEN),
        "model.norm.weight": (_HIDDEN,),
        f"{layer}.input_layernorm.weight": (_HIDDEN,),
        f"{layer}.post_attention_layernorm.weight": (_HIDDEN,),
        f"{layer}.self_attn.q_proj.weight": square,
        f"{layer}.self_attn.k_proj.weight": square,
        f"{layer}.self_attn.v_proj.weight": square,
        f"{layer}.self_attn.o_proj.weight": square,
        f"{layer}.mlp.gate_proj.weight": (_INNER, _HIDDEN),
        f"{layer}.mlp.up_proj.weight": (_INNER, _HIDDEN),
        f"{layer}.mlp.down_proj.weight": (_HIDDEN, _INNER),
    }
    tensors = {
        name: random.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
        for name, shape in shapes.items()
    }
    save_file(tensors, str(path), metadata={"format": "pt"})


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), "utf-8")
