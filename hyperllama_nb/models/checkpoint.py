"""A Hugging Face checkpoint (a directory with config.json and weights) as a model of the store."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from hyperllama_nb.errors import InvalidFileError
from hyperllama_nb.models.gguf.importer import default_encoding, import_gguf
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.names import Name
from hyperllama_nb.models.safetensors import read_tensors
from hyperllama_nb.models.work import Fetched, Staged, Work

_WANTED = re.compile(
    r"[^/]+\.(safetensors|json|jinja|model|tiktoken)|(vocab|merges)\.txt|(LICENSE|README)[^/]*"
    r"|\d+_Pooling/config\.json",
    re.IGNORECASE,
)
_SKIPPED = re.compile(r"consolidated.*|.*\.bin\.index\.json|\..*", re.IGNORECASE)
_MAX_TEXT = 32 << 20
"""Bytes of a configuration file; the largest tokenizers have 20 MB."""


def choose(files: Iterable[str], wanted: str | None = None) -> list[str]:
    """Return the files of a repository that make one model, with one format of weights.

    `wanted` names a GGUF file to take instead. Raises InvalidFileError where there is no choice
    that is right, or more than one.
    """
    names = sorted(files)
    ggufs = [name for name in names if name.lower().endswith(".gguf")]
    if wanted is not None:
        if wanted not in ggufs:
            raise InvalidFileError(
                f"There is no GGUF file {wanted!r} there; there are: {', '.join(ggufs) or 'none'}."
            )
        return [wanted]
    plain = [name for name in names if _WANTED.fullmatch(name) and not _SKIPPED.fullmatch(name)]
    if any(name.endswith(".safetensors") for name in plain):
        if "config.json" not in plain:
            raise InvalidFileError(
                "There are safetensors weights without a config.json there, so nothing says what "
                "model they are. Choose a complete repository or directory."
            )
        return plain
    if len(ggufs) == 1:
        return ggufs
    if ggufs:
        raise InvalidFileError(
            f"There are {len(ggufs)} GGUF files there, and a model is one. Name it, as in "
            f"hf:organisation/repository/{ggufs[0]}."
        )
    raise InvalidFileError(
        "There are no safetensors or GGUF weights there; other formats can run code when they are "
        "loaded and are not taken. Choose a repository with safetensors."
    )


def import_checkpoint(
    directory: Path,
    files: Iterable[str],
    work: Work,
    *,
    name: Name,
    text: str,
    revision: str | None = None,
    digests: Mapping[str, str] | None = None,
    link: bool = False,
) -> Fetched:
    """Make a model of the chosen files of a directory.

    `digests` are the promised ones. `link` shares the files' disk space with the directory, for
    caches whose files never change.
    Raises InvalidFileError, IntegrityError, NoSpaceError.
    """
    chosen, promised = list(files), digests or {}
    if not link:
        size = sum((directory / file).stat().st_size for file in chosen)
        work.require(size, "The copy")
    staged = [
        work.stage(directory / file, file, role(file), expected=promised.get(file), link=link)
        for file in chosen
    ]
    return from_staged(staged, work, name=name, text=text, revision=revision)


def from_staged(
    staged: list[Staged], work: Work, *, name: Name, text: str, revision: str | None = None
) -> Fetched:
    """Make a model of the files that `choose` chose; raises InvalidFileError, NoSpaceError."""
    if staged[0].file.path.endswith(".gguf"):
        return import_gguf(staged[0], work, name=name, text=text, revision=revision)
    if work.quantize is not None:
        raise InvalidFileError(
            f"{work.quantize} is made of a GGUF file, and these are safetensors. Pull a GGUF file "
            "of the model, best one in F16 or Q8_0, or pull the model without a quantization."
        )
    work.report("checking the weights")
    manifest = _manifest(staged, name, text, revision)
    return Fetched(manifest, tuple(staged))


def _manifest(staged: list[Staged], name: Name, text: str, revision: str | None) -> Manifest:
    paths = {item.file.path: item.path for item in staged}
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for path, place in paths.items():
        if path.endswith(".safetensors"):
            tensors |= read_tensors(place)
    missing = sorted(set(_index(paths)) - set(paths))
    if missing:
        raise InvalidFileError(
            f"The weights are incomplete: {missing[0]} and {len(missing) - 1} more of the index "
            "are missing. Fetch the whole repository."
        )
    kinds: Counter[str] = Counter()
    for kind, shape in tensors.values():
        kinds[kind] += prod(shape)
    config = _object(paths, "config.json")
    inner = config.get("text_config")
    read = _Config({**config, **inner} if isinstance(inner, dict) else config)
    architectures = config.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else ""
    hidden, heads = read.size("hidden_size", "n_embd"), read.size("num_attention_heads", "n_head")
    quantization = kinds.most_common(1)[0][0] if kinds else "F32"
    context_length = read.size("max_position_embeddings", "n_positions")
    context_length -= _UNUSED_POSITIONS.get(str(config.get("model_type")), 0)
    return Manifest(
        name=name,
        source=text,
        revision=revision or next(i.file.digest for i in staged if i.file.role == "weights"),
        files=tuple(item.file for item in staged),
        architecture=str(first),
        family=str(config.get("model_type", "")),
        parameters=sum(kinds.values()),
        quantization=quantization,
        encoding=_encoding(config, quantization),
        context_length=max(0, context_length),
        embedding_length=hidden,
        layers=read.size("num_hidden_layers", "n_layer"),
        kv_heads=read.size("num_key_value_heads") or heads,
        head_dim=read.size("head_dim") or (hidden // heads if heads else 0),
        vocab_size=read.size("vocab_size"),
        template=_template(paths),
        license=_license(paths),
        license_text=_license_text(paths),
        options=_options(paths, context_length),
    )


_UNUSED_POSITIONS = dict.fromkeys(("mpnet", "roberta", "xlm-roberta"), 2)
"""Positions that stand before the first token of a text, by the configuration's `model_type`."""


def _options(paths: Mapping[str, Path], context_length: int) -> dict[str, Any]:
    """Return the model's own options: an embedding model may be trained for shorter texts only."""
    if "sentence_bert_config.json" not in paths:
        return {}
    trained = _Config(_object(paths, "sentence_bert_config.json")).size("max_seq_length")
    return {"num_ctx": trained} if 0 < trained < context_length else {}


class _Config:
    """Sizes in a config.json, which different architectures call differently."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content

    def size(self, *keys: str) -> int:
        """Return the first of the keys that is a size, or 0."""
        values = (self._content.get(key) for key in keys)
        return next((v for v in values if type(v) is int and 0 < v < 1 << 31), 0)


def _encoding(config: dict[str, Any], quantization: str) -> str:
    """Return what an engine on this machine runs the weights as.

    MAX converts between float32 and bfloat16 itself, and nothing else.
    """
    quantized = config.get("quantization_config")
    if isinstance(quantized, dict):
        return str(quantized.get("quant_method", "unknown"))
    if quantization in {"F32", "BF16"}:
        return default_encoding()
    return {"F16": "float16", "F8_E4M3": "float8_e4m3fn"}.get(quantization, quantization.lower())


def _index(paths: Mapping[str, Path]) -> Iterable[str]:
    """Return the files that the index of the weights names."""
    if "model.safetensors.index.json" not in paths:
        return ()
    files = _object(paths, "model.safetensors.index.json").get("weight_map", {})
    return (str(file) for file in files.values()) if isinstance(files, dict) else ()


def _template(paths: Mapping[str, Path]) -> str | None:
    """Return the chat template: a file of its own, or a field of the tokenizer's configuration."""
    if "chat_template.jinja" in paths:
        return _content(paths["chat_template.jinja"])
    if "tokenizer_config.json" not in paths:
        return None
    template = _object(paths, "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):
        named = {item.get("name"): item for item in template if isinstance(item, dict)}
        template = named.get("default", {}).get("template")
    return template if isinstance(template, str) and template else None


def _license(paths: Mapping[str, Path]) -> str | None:
    """Return the licence that the card's front matter names."""
    card = _content(paths["README.md"]) if "README.md" in paths else ""
    front = card.split("---")[1] if card.startswith("---") and card.count("---") > 1 else ""
    found = re.search(r"^license:\s*['\"]?([\w.-]+)", front, re.MULTILINE)
    return found[1] if found else None


def _license_text(paths: Mapping[str, Path]) -> str | None:
    found = next((path for path in sorted(paths) if path.upper().startswith("LICENSE")), None)
    return _content(paths[found])[: 64 << 10] if found else None


def role(path: str) -> str:
    """Return what a file of a checkpoint is for, in the manifest's words."""
    if path.endswith((".safetensors", ".gguf")):
        return "source" if path.endswith(".gguf") else "weights"
    if path.upper().startswith(("LICENSE", "README")):
        return "license"
    tokenizer = path.startswith(("tokenizer", "vocab", "merges", "special", "added", "chat"))
    return "tokenizer" if tokenizer or path.endswith((".model", ".tiktoken")) else "config"


def _object(paths: Mapping[str, Path], name: str) -> dict[str, Any]:
    try:
        content = json.loads(_content(paths[name]))
        if isinstance(content, dict):
            return content
    except (ValueError, RecursionError):
        pass
    raise InvalidFileError(f"{name} is not a JSON object. Fetch it again from its source.")


def _content(path: Path) -> str:
    if path.stat().st_size > _MAX_TEXT:
        raise InvalidFileError(f"{path.stem} is too large to be what its name says.")
    return path.read_text("utf-8", errors="replace")
