"""A BERT checkpoint as a GGUF file, as registries have embedding models."""

import json
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

_PARTS = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_TABLES = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.LayerNorm": "token_embd_norm",
}
_NORMAL, _CONTROL = 1, 3


def write(directory: Path, path: Path) -> None:
    """Write the model of a directory with config.json, vocab.txt and model.safetensors."""
    config = json.loads((directory / "config.json").read_text("utf-8"))
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_license("apache-2.0")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(0)
    _vocabulary(writer, (directory / "vocab.txt").read_text("utf-8").split("\n")[:-1])
    for name, values in load_file(directory / "model.safetensors").items():
        if renamed := _renamed(name):
            writer.add_tensor(renamed, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _vocabulary(writer: gguf.GGUFWriter, words: list[str]) -> None:
    special = {word for word in words if word.startswith("[") and word.endswith("]")}
    special -= {"[", "]"}
    writer.add_tokenizer_model("bert")
    writer.add_token_list([w if w in special else _phantom(w) for w in words])
    writer.add_token_types([_CONTROL if word in special else _NORMAL for word in words])
    writer.add_token_type_count(2)
    for add, word in (
        (writer.add_bos_token_id, "[CLS]"),
        (writer.add_sep_token_id, "[SEP]"),
        (writer.add_pad_token_id, "[PAD]"),
        (writer.add_unk_token_id, "[UNK]"),
        (writer.add_mask_token_id, "[MASK]"),
    ):
        add(words.index(word))


def _phantom(word: str) -> str:
    """Return a piece of a word as llama.cpp writes it: the first one of a word is marked."""
    return word[2:] if word.startswith("##") else f"\u2581{word}"


def _renamed(name: str) -> str | None:
    """Return a tensor's name in GGUF; None for what takes no part."""
    whole, _, kind = name.rpartition(".")
    if whole in _TABLES:
        return f"{_TABLES[whole]}.{kind}"
    if not whole.startswith("encoder.layer."):
        return None
    number, _, part = whole.removeprefix("encoder.layer.").partition(".")
    return f"blk.{number}.{_PARTS[part]}.{kind}"
