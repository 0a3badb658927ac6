"""From tokens to text, piece by piece, and what the model's files say of its tokens."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

TAIL = 8
"""Tokens of the prompt that the text's first token is seen behind: some decoders strip a space
where a text begins."""

HALF = "\ufffd"
"""What the bytes of half a character decode to."""


class Vocabulary:
    """The tokenizer of a model, and the tokens that end a text (`eos`)."""

    def __init__(self, directory: Path) -> None:
        """Read `tokenizer.json` and the configurations beside it; raises OSError without one."""
        path = directory / "tokenizer.json"
        # Read here for a clear error: the library's has no type of its own.
        self.tokenizer: Any = Tokenizer.from_str(path.read_text("utf-8"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.eos = self._ends(directory)

    @property
    def size(self) -> int:
        """Return how many tokens the tokenizer knows."""
        size: int = self.tokenizer.get_vocab_size()
        return size

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, with what the tokenizer puts around one."""
        ids: list[int] = self.tokenizer.encode(text).ids
        return ids

    def spell(self, token: int) -> str:
        """Return a token's own text; a special one is spelled out."""
        text: str = self.tokenizer.decode([token], skip_special_tokens=False)
        return text

    def _ends(self, directory: Path) -> frozenset[int]:
        found: set[int] = set()
        for name in ("config.json", "generation_config.json"):
            value = _read(directory / name).get("eos_token_id")
            values = value if isinstance(value, list) else [value]
            found |= {one for one in values if type(one) is int}
        token = _read(directory / "tokenizer_config.json").get("eos_token")
        token = token.get("content") if isinstance(token, dict) else token
        known = self.tokenizer.token_to_id(token) if isinstance(token, str) else None
        return frozenset(found | ({known} if known is not None else set()))


class Text:
    """The text of one sequence; half a character is held back until its other half comes."""

    def __init__(self, vocabulary: Vocabulary, prompt: Sequence[int]) -> None:
        """Take the last tokens of the prompt; `TAIL` of them are enough."""
        self._tokenizer = vocabulary.tokenizer
        tail = list(prompt)
        if self._tokenizer.decode(tail).endswith(HALF):
            tail = []
        self._stream = DecodeStream(ids=tail, skip_special_tokens=True)

    def add(self, token: int) -> str:
        """Return what a further token adds to the text: nothing for half a character."""
        try:
            return self._stream.step(self._tokenizer, token) or ""
        except Exception:  # noqa: BLE001  the library has no type for it
            # What was said before reads differently now, which some decoders do to odd bytes:
            # begin anew behind it.
            self._stream = DecodeStream(skip_special_tokens=True)
            with contextlib.suppress(Exception):
                return self._stream.step(self._tokenizer, token) or ""
            return ""


def _read(path: Path) -> dict[str, Any]:
    """Return the object in a file; empty if there is none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
