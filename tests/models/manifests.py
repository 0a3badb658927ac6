"""Manifests and stored models for tests."""

import hashlib
from typing import Any

from hyperllama_nb.models import File, Manifest, Name, Store
from hyperllama_nb.models.work import Fetched, Staged


def manifest(name: str = "tiny:1", **changed: Any) -> Manifest:
    """Return a manifest with plausible facts and no files."""
    facts: dict[str, Any] = {
        "name": Name.parse(name),
        "source": "file:/tiny.gguf",
        "revision": "1",
        "files": (),
        "architecture": "LlamaForCausalLM",
        "family": "llama",
        "parameters": 134_515_008,
        "quantization": "Q4_1",
        "encoding": "float32",
        "context_length": 8192,
        "embedding_length": 576,
        "layers": 30,
        "kv_heads": 3,
        "head_dim": 64,
        "vocab_size": 49152,
        **changed,
    }
    return Manifest(**facts)


def install(store: Store, name: str, **contents: bytes) -> Manifest:
    """Install a model whose files have these contents; `source` is the one outside the view."""
    directory = store.root / "partial" / "test"
    directory.mkdir(parents=True, exist_ok=True)
    staged = []
    for key, content in contents.items():
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        path = directory / key
        path.write_bytes(content)
        role = "source" if key == "source" else "config"
        staged.append(Staged(File(f"{key}.json", digest, len(content), role), path))
    made = manifest(name, files=tuple(item.file for item in staged))
    store.install(Fetched(made, tuple(staged)))
    return made
