"""What a registry's manifest lists, and what its small layers say about a model."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hyperllama_nb.errors import InvalidFileError, NotSupportedError

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
MOST_MANIFEST = 1 << 20
MOST_TEXT = 1 << 20
"""Bytes of a small layer; the longest licences have a tenth of it."""

MOST_LAYERS = 256
MOST_BYTES = 1 << 42
"""Of one model: 4 TiB."""

_PREFIX = "application/vnd.ollama.image."
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_OPTION = re.compile(r"[a-z][a-z_]{0,39}")
_TEXTS = frozenset({"system", "params", "license", "messages"})
_MOST_LICENSE = 64 << 10
_ROLES = frozenset({"system", "user", "assistant"})

_REFUSED = {
    "adapter": "it is an adapter that changes another model. Pull a model that has it built in",
    "projector": "it comes with a projector for images, which are not answered here. Pull a model "
    "for text",
    "tensor": "its weights lie in many pieces and not in a GGUF file. Pull it from the hub "
    "(hf:organisation/repository), or another tag",
}


@dataclass(frozen=True)
class Layer:
    """A blob of a model: what it is (`model`, `params`, …), its digest, its size in bytes."""

    kind: str
    digest: str
    size: int


@dataclass(frozen=True)
class Listing:
    """The layers of one model that matter here."""

    model: Layer
    texts: tuple[Layer, ...]
    template: bool
    """Whether there is a template in Go's language, which is not run."""


def read_listing(data: bytes, name: str) -> Listing:
    """Return the layers that a manifest lists; nothing in it is believed without a check.

    Raises InvalidFileError for what is no such manifest, NotSupportedError for a model of a kind
    that cannot be run, in words.
    """
    try:
        content = json.loads(data)
        if not isinstance(content["layers"], list) or len(content["layers"]) > MOST_LAYERS:
            raise ValueError
        layers = [layer for item in content["layers"] if (layer := _layer(item)) is not None]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidFileError(
            f"The manifest of {name} is not one of a model, or is damaged. Check the name and the "
            "host."
        ) from error
    for layer in layers:
        if layer.kind in _REFUSED:
            raise NotSupportedError(f"{name} cannot be run: {_REFUSED[layer.kind]}.")
    models = [layer for layer in layers if layer.kind == "model"]
    if len(models) != 1 or sum(layer.size for layer in layers) > MOST_BYTES:
        raise InvalidFileError(
            f"The manifest of {name} lists {len(models)} files of weights, and a model is one of "
            f"at most {MOST_BYTES >> 40} TiB. Pull another tag."
        )
    texts = tuple(layer for layer in layers if layer.kind in _TEXTS)
    if any(text.size > MOST_TEXT for text in texts):
        raise InvalidFileError(
            f"The manifest of {name} lists a text of more than {MOST_TEXT >> 20} MiB. Pull another "
            "tag."
        )
    template = any(layer.kind in {"template", "prompt"} for layer in layers)
    return Listing(models[0], texts, template)


def _layer(item: Any) -> Layer | None:
    """Return a layer, None for one of another family; raises ValueError for a hostile one."""
    kind, digest, size = item["mediaType"], item["digest"], item["size"]
    if not isinstance(kind, str) or not isinstance(digest, str) or type(size) is not int:
        raise ValueError
    if _DIGEST.fullmatch(digest) is None or not 0 <= size <= MOST_BYTES:
        raise ValueError
    if not kind.startswith(_PREFIX):
        return None
    return Layer(kind.removeprefix(_PREFIX).partition(";")[0].strip(), digest, size)


def facts(texts: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
    """Return the fields of our manifest that the small layers fill, by kind and content.

    Raises InvalidFileError for one that is damaged.
    """
    found: dict[str, Any] = {}
    licenses: list[str] = []
    for kind, data in texts:
        text = data.decode("utf-8", errors="replace")
        if kind == "system":
            found["system"] = text
        elif kind == "license":
            licenses.append(text)
        elif kind == "params":
            found["options"] = _options(_json(text, kind, dict))
        else:
            found["messages"] = _messages(_json(text, kind, list))
    if licenses:
        found["license_text"] = "\n".join(licenses)[:_MOST_LICENSE]
    return found


def template_words(own: str | None) -> str:
    """Say what became of a template in Go's language; `own` is the one in the GGUF file."""
    if own:
        return "using the chat template in the GGUF file, not the one in Go's language"
    return (
        "leaving out the chat template in Go's language, which is not run; the GGUF file has none, "
        "so the model completes text until `create` gives it one"
    )


def _json(text: str, kind: str, wanted: type) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, wanted):
        raise InvalidFileError(f"The layer {kind!r} of the model is damaged. Pull another tag.")
    return value


def _options(values: dict[str, Any]) -> dict[str, Any]:
    """Return the options of plain types; which backend runs a model is not for it to say."""
    return {
        name: value
        for name, value in values.items()
        if _OPTION.fullmatch(name) and name != "backend" and _plain(value)
    }


def _plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, str | bool | int) or (
        isinstance(value, float) and math.isfinite(value)
    )


def _messages(values: list[Any]) -> tuple[dict[str, str], ...]:
    """Return the turns of the conversation that a model begins with."""
    turns = []
    for value in values:
        turn = value if isinstance(value, dict) else {}
        role, content = turn.get("role"), turn.get("content", "")
        if role not in _ROLES or not isinstance(content, str):
            raise InvalidFileError(
                "The layer 'messages' of the model is damaged. Pull another tag."
            )
        turns.append({"role": role, "content": content})
    return tuple(turns)
