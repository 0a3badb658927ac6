"""What the store knows about one model."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import PurePosixPath
from typing import Any, Self

from hyperllama_nb.errors import StoreError
from hyperllama_nb.models.names import Name

SCHEMA = 1
"""The number of the manifest's layout; a file with another number is not read."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

ROLES = frozenset({"weights", "config", "tokenizer", "license", "source"})
"""What a file is for. Files with the role `source` are kept, and are not part of the view."""


@dataclass(frozen=True)
class File:
    """One file of a model: its name in the view, its digest and size in bytes, its role."""

    path: str
    digest: str
    size: int
    role: str

    def __post_init__(self) -> None:
        """Refuse what could lead out of the store: these fields become paths."""
        if _DIGEST.fullmatch(self.digest) is None:
            raise StoreError(f"{self.digest[:90]!r} is not a sha256 digest. Pull the model again.")
        pure = PurePosixPath(self.path)
        plain = all(part not in {"", ".", ".."} for part in self.path.split("/"))
        if not plain or pure.is_absolute() or "\\" in self.path or "\0" in self.path:
            raise StoreError(f"{self.path[:90]!r} is not a relative path. Pull the model again.")
        if self.role not in ROLES or self.size < 0:
            raise StoreError(
                f"{self.path!r} has an unknown role or a negative size. Pull the model again."
            )

    @property
    def blob(self) -> str:
        """Return the name of the file's blob."""
        return self.digest.replace(":", "-")


@dataclass(frozen=True)
class Manifest:
    """A model in the store: where it came from, its files, and what an engine must know."""

    name: Name
    source: str
    revision: str
    files: tuple[File, ...]
    architecture: str
    family: str
    parameters: int
    quantization: str
    """The kind of the source's matrices, in GGML's words (`Q4_1`, `BF16`)."""
    encoding: str
    """What an engine will run, in MAX's words (`float32`, `bfloat16`, `q4_k`)."""
    context_length: int
    """The longest context, in tokens, that the model was made for."""
    embedding_length: int
    layers: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    format: str = "safetensors"
    """The format of the source's weights: `gguf` or `safetensors`."""
    template: str | None = None
    license: str | None = None
    license_text: str | None = None
    system: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[Mapping[str, Any], ...] = ()
    modified_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @cached_property
    def digest(self) -> str:
        """Return 64 hex digits that name the content: equal for copies under other names."""
        content = self._plain()
        del content["name"], content["modified_at"]
        return hashlib.sha256(_canonical(content)).hexdigest()

    @property
    def size(self) -> int:
        """Return the bytes on disk, a file that appears twice counted once."""
        return sum({file.digest: file.size for file in self.files}.values())

    @property
    def weights_size(self) -> int:
        """Return the bytes of the weights that an engine reads."""
        return sum(file.size for file in self.files if file.role == "weights")

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Return what the model can do, as far as its files show it."""
        if "CausalLM" not in self.architecture and "Conditional" not in self.architecture:
            return ("embedding",)
        template = self.template or ""
        shown = {"tools": "tools" in template, "thinking": "<think>" in template}
        return ("completion", *(name for name, there in shown.items() if there))

    def kv_bytes(self, context: int, batch: int) -> int:
        """Return the bytes of a float32 key-value cache: context in tokens, batch in requests."""
        return 2 * self.layers * self.kv_heads * self.head_dim * 4 * context * batch

    def details(self) -> dict[str, Any]:
        """Return Ollama's `details` object."""
        return {
            "parent_model": "",
            "format": self.format,
            "family": self.family,
            "families": [self.family],
            "parameter_size": human_number(self.parameters),
            "quantization_level": self.quantization,
        }

    def model_info(self) -> dict[str, Any]:
        """Return the `model_info` object of `/api/show`, under GGUF's key names."""
        info: dict[str, Any] = {
            "general.architecture": self.family,
            "general.basename": self.name.model,
            "general.parameter_count": self.parameters,
            f"{self.family}.attention.head_count_kv": self.kv_heads,
            f"{self.family}.attention.key_length": self.head_dim,
            f"{self.family}.block_count": self.layers,
            f"{self.family}.context_length": self.context_length,
            f"{self.family}.embedding_length": self.embedding_length,
            f"{self.family}.vocab_size": self.vocab_size,
        }
        if self.license:
            info["general.license"] = self.license
        return info

    def renamed(self, name: Name) -> Self:
        """Return the same model under another name, modified now."""
        return replace(self, name=name, modified_at=datetime.now(UTC))

    def to_json(self) -> str:
        """Return the text of the manifest's file."""
        return json.dumps({"schema": SCHEMA, **self._plain()}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the manifest that `to_json` wrote.

        Raises StoreError if the text is damaged or of another schema.
        """
        try:
            content = json.loads(text)
            if content["schema"] != SCHEMA:
                raise StoreError(
                    f"The manifest has schema {content['schema']!r}; this version reads {SCHEMA}. "
                    "Use the version that wrote it, or pull the model again."
                )
            host, namespace, model, tag = (content["name"][key] for key in _NAME_FIELDS)
            values = {item.name: content[item.name] for item in fields(cls)}
            values["name"] = Name(host, namespace, model, tag)
            values["files"] = tuple(File(**file) for file in content["files"])
            values["messages"] = tuple(content["messages"])
            values["modified_at"] = datetime.fromisoformat(content["modified_at"])
            manifest = cls(**values)
            manifest._check()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StoreError(
                f"The manifest is damaged ({type(error).__name__}). Pull the model again."
            ) from error
        return manifest

    def _check(self) -> None:
        """Raise TypeError where a field has another type than this class writes."""
        for item in fields(self):
            value = getattr(self, item.name)
            if item.type is int and (type(value) is not int or value < 0):
                raise TypeError(item.name)
            if item.type is str and type(value) is not str:
                raise TypeError(item.name)
            if item.type == str | None and value is not None and type(value) is not str:
                raise TypeError(item.name)
        if not isinstance(self.options, dict) or self.modified_at.tzinfo is None:
            raise TypeError

    def _plain(self) -> dict[str, Any]:
        return {**asdict(self), "modified_at": self.modified_at.isoformat()}


@lru_cache(maxsize=64)
def read_manifest(text: bytes) -> Manifest:
    """Return the manifest with this text, one for all who read it: each request does.

    Raises StoreError as `Manifest.from_json` does.
    """
    return Manifest.from_json(text)


_NAME_FIELDS = ("host", "namespace", "model", "tag")


def human_number(count: int) -> str:
    """Return a parameter count as Ollama prints it: `8.0B`, `134.52M`, `7B`."""
    for unit, size, digits in (("B", 10**9, 1), ("M", 10**6, 2), ("K", 10**3, 0)):
        if count >= size:
            whole = count % size == 0
            return f"{count / size:.{0 if whole else digits}f}{unit}"
    return str(count)


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
