"""What a model can do, as its files show it: Ollama's word for it is `capabilities`."""

from dataclasses import dataclass
from pathlib import Path

from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.store import Store


@dataclass(frozen=True)
class Insertion:
    """How a model is asked to fill a gap: what comes before, between and behind the two texts."""

    before: str
    between: str
    behind: str
    suffix_first: bool = False

    def prompt(self, prefix: str, suffix: str) -> str:
        """Return the text that asks for what lies between `prefix` and `suffix`.

        >>> Insertion("<P>", "<S>", "<M>").prompt("def f(", "return 1")
        '<P>def f(<S>return 1<M>'
        """
        first, second = (suffix, prefix) if self.suffix_first else (prefix, suffix)
        return f"{self.before}{first}{self.between}{second}{self.behind}"


INSERTIONS = (
    Insertion("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    Insertion("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    Insertion("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    Insertion("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # noqa: RUF001
    Insertion("▁<PRE>", "▁<SUF>", "▁<MID>"),
    Insertion("[SUFFIX]", "[PREFIX]", "", suffix_first=True),
)
"""The forms of the models that were trained for it, by their special tokens."""


_READ: dict[str, Insertion | None] = {}


def abilities(store: Store, manifest: Manifest) -> tuple[str, ...]:
    """Return the model's capabilities, in Ollama's words."""
    found = manifest.capabilities
    if "completion" in found and insertion(store, manifest) is not None:
        return (*found, "insert")
    return found


def insertion(store: Store, manifest: Manifest) -> Insertion | None:
    """Return how the model is asked to fill a gap; None if it was not trained for it.

    Each model's files are read once.
    """
    if manifest.digest not in _READ:
        _READ[manifest.digest] = _read(store.view(manifest) / "tokenizer.json")
    return _READ[manifest.digest]


def _read(path: Path) -> Insertion | None:
    """Look for the special tokens in the tokenizer's file, without making a tokenizer of it."""
    if not path.exists():
        return None
    words = path.read_text("utf-8", errors="replace")
    for form in INSERTIONS:
        tokens = [token for token in (form.before, form.between, form.behind) if token]
        if all(f'"content": "{t}"' in words or f'"content":"{t}"' in words for t in tokens):
            return form
    return None
