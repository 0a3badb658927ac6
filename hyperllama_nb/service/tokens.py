"""A model's tokenizer: text to ids and back, with special tokens only where they are meant."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperllama_nb.errors import InvalidFileError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
"""Noncharacters that enclose the number of a special token that is only text."""

_NEVER = re.compile(r"(?!)")


class Tokens:
    """Encode and decode text for one model; the files are read when they are first needed.

    `guard` marks the special tokens in a caller's text, and `encode` then takes them for the
    characters they are written with, so that such text cannot end a turn or begin another one.
    """

    def __init__(self, directory: Path, model: str) -> None:
        """Read `tokenizer.json` and `tokenizer_config.json` in `directory`; errors name `model`."""
        self._directory = directory
        self._model = model

    def load(self) -> None:
        """Read the files now. Raises InvalidFileError if one is damaged."""
        _ = self._whole, self.config

    @cached_property
    def config(self) -> dict[str, Any]:
        """Return the content of `tokenizer_config.json`, empty if there is none."""
        path = self._directory / "tokenizer_config.json"
        try:
            config = json.loads(path.read_text("utf-8")) if path.exists() else {}
        except (OSError, ValueError) as error:
            raise self._damaged(path, error) from error
        return config if isinstance(config, dict) else {}

    @cached_property
    def named(self) -> dict[str, str]:
        """Return `bos_token`, `eos_token` and the like, which templates print."""
        tokens: dict[str, str] = {}
        for key, value in self.config.items():
            text = value.get("content") if isinstance(value, dict) else value
            if key.endswith("_token") and isinstance(text, str):
                tokens[key] = text
        return tokens

    def encode(self, text: str, *, special: bool = True, start: bool = False) -> list[int]:
        """Return the ids of `text`.

        `special` recognises special tokens, those that `guard` marked excepted. `start` adds what
        the tokenizer puts around a text (a start token), unless the text begins with it.
        """
        if not special:
            return list(self._literal.encode(self.visible(text), add_special_tokens=False).ids)
        if start:
            bos = self.named.get("bos_token")
            if not (bos and text.startswith(bos)):
                return [*self._start, *self.encode(text)]
        if _OPEN not in text:
            return list(self._whole.encode(text, add_special_tokens=False).ids)
        ids: list[int] = []
        for part in self._splitter.split(text):
            if part in self._special:
                ids.append(self._special[part])
            elif part:
                ids += self.encode(part, special=False)
        return ids

    def whole(self, text: str, limit: int) -> tuple[list[int], int]:
        """Return the ids of a text that stands alone, and how many tokens it has.

        What the tokenizer puts around a text is included, and special tokens in it are taken for
        text. Of more than `limit` tokens the last ones of the text itself are left out; the ids
        are empty where there is not even room for what stands around it and one token.
        """
        encoded = self._literal.encode(text)
        ids, around = list(encoded.ids), encoded.special_tokens_mask
        if len(ids) <= limit:
            return ids, len(ids)
        behind = next((n for n, special in enumerate(reversed(around)) if not special), 0)
        if sum(around) >= limit:
            return [], len(ids)
        return [*ids[: limit - behind], *ids[len(ids) - behind :]], len(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, special tokens spelled out."""
        return str(self._whole.decode(list(ids), skip_special_tokens=False))

    def guard(self, value: Any) -> Any:
        """Return `value` with the special tokens in all its strings marked as text."""
        if isinstance(value, str):
            return self._finder.sub(
                lambda found: f"{_OPEN}{self._numbers[found[0]]}{_CLOSE}", value
            )
        if isinstance(value, Mapping):
            return {self.guard(key): self.guard(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.guard(item) for item in value]
        return value

    def visible(self, text: str) -> str:
        """Return guarded text as it reads."""
        if _OPEN not in text:
            return text
        names = list(self._numbers)
        return re.sub(f"{_OPEN}([0-9]+){_CLOSE}", lambda found: names[int(found[1])], text)

    def cut(self, text: str, keep: int, drop: int) -> str:
        """Return `text` without `drop` tokens after its first `keep`."""
        spans = self._literal.encode(text, add_special_tokens=False).offsets
        if drop <= 0:
            return text
        head = spans[keep][0] if keep < len(spans) else len(text)
        tail = spans[keep + drop][0] if keep + drop < len(spans) else len(text)
        return text[:head] + text[tail:]

    @cached_property
    def _whole(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        path = self._directory / "tokenizer.json"
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:
            # The library raises bare Exception for whatever is wrong with the file.
            raise self._damaged(path, error) from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def _literal(self) -> "Tokenizer":
        """Return a second tokenizer, which takes special tokens for text."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self._whole.to_str())
        tokenizer.encode_special_tokens = True
        return tokenizer

    @cached_property
    def _start(self) -> list[int]:
        """Return the ids that the tokenizer puts before a text (not those behind it)."""
        around = self._whole.encode("a").ids
        bare = self._whole.encode("a", add_special_tokens=False).ids
        for at in range(len(around) - len(bare) + 1):
            if around[at : at + len(bare)] == bare:
                return list(around[:at])
        return []

    @cached_property
    def _special(self) -> dict[str, int]:
        added = self._whole.get_added_tokens_decoder()
        return {token.content: i for i, token in added.items() if token.special and token.content}

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {text: i for i, text in enumerate([*self._special, _OPEN, _CLOSE])}

    @cached_property
    def _splitter(self) -> re.Pattern[str]:
        return re.compile(f"({_any_of(self._special)})") if self._special else _NEVER

    @cached_property
    def _finder(self) -> re.Pattern[str]:
        return re.compile(_any_of(self._numbers))

    def _damaged(self, path: Path, error: Exception) -> InvalidFileError:
        return InvalidFileError(
            f'The file {path.name} of "{self._model}" cannot be read: {error}. '
            f"Pull the model again: hyperllama pull {self._model}"
        )


def _any_of(strings: Mapping[str, int]) -> str:
    """Return a pattern for any of the strings, the longest first."""
    return "|".join(re.escape(text) for text in sorted(strings, key=len, reverse=True))
