"""Model names: `[host/][namespace/]model[:tag]`, as Ollama writes and matches them."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Self

from hyperllama_nb.errors import InvalidNameError

DEFAULT_HOST = "registry.ollama.ai"
"""The host that a name without one means: part of the name contract."""

HUB_HOST = "hf.co"
HUB_HOSTS = frozenset({HUB_HOST, "huggingface.co"})
"""The hosts that mean the Hugging Face hub, as part of a name."""

DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_PARTS = {
    # A host is one directory in the store, so its length is bounded by what a file name can hold.
    "host": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,252}"),
    "namespace": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}"),
    "model": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
    "tag": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
}


@dataclass(frozen=True)
class Name:
    """A complete model name, in the case in which it was written."""

    host: str
    namespace: str
    model: str
    tag: str

    def __post_init__(self) -> None:
        """Refuse parts that the grammar does not allow, so that no path can leave the store."""
        for part, pattern in _PARTS.items():
            value = getattr(self, part)
            if pattern.fullmatch(value) is None:
                raise InvalidNameError(
                    f"{value[:90]!r} is not a {part}: it takes letters, digits, `_`, `-`"
                    f"{'' if part == 'namespace' else ', `.`'} after a first letter, digit or `_`. "
                    "Write a model as model:tag, for example smollm2:135m."
                )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the name that the text writes, with the defaults for what it leaves out.

        Raises InvalidNameError.
        """
        rest = text.strip()
        tag, host, namespace = DEFAULT_TAG, DEFAULT_HOST, DEFAULT_NAMESPACE
        if not rest:
            raise InvalidNameError(
                "The model name is empty. Name a model, for example smollm2:135m."
            )
        if rest.rfind(":") > rest.rfind("/"):
            rest, _, tag = rest.rpartition(":")
        rest, slash, model = rest.rpartition("/")
        if slash:
            rest, slash, namespace = rest.rpartition("/")
            if slash:
                host = rest.partition("://")[2] or rest
        return cls(host, namespace, model, tag)

    @property
    def display(self) -> str:
        """Return the short form: default host and namespace left out, the tag always there."""
        if self.host.lower() != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"
        if self.namespace.lower() != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"

    @property
    def full(self) -> str:
        """Return the form with every part."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def key(self) -> str:
        """Return what names are matched by: names that differ only in case are one model."""
        return self.full.lower()

    @property
    def path(self) -> PurePosixPath:
        """Return the relative path of the manifest, the same for all cases of one name."""
        parts = (self.host, self.namespace, self.model, self.tag)
        return PurePosixPath(*(part.lower() for part in parts))

    def __str__(self) -> str:
        return self.display
