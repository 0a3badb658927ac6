"""Holding a text to a JSON schema: which tokens may come next, by the library llguidance."""

import contextlib
import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import RefusedError
from .text import Vocabulary

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STYLE: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One line, as Python writes JSON: free blanks are what small models lose themselves in, and what
is fixed need not be computed."""


class Grammar:
    """Where one text stands in its grammar."""

    def __init__(self, matcher: Any, vocab: int) -> None:
        self._matcher = matcher
        self._vocab = vocab

    def allowed(self) -> "NDArray[np.bool_]":
        """Return for each token whether it may come next; raises ValueError if that is unknown."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        known = np.unpackbits(bits, bitorder="little")[: self._vocab].view(np.bool_)
        if known.size < self._vocab:
            known = np.concatenate((known, np.zeros(self._vocab - known.size, dtype=np.bool_)))
        return known

    def consume(self, token: int) -> None:
        """Take note of a token; raises ValueError for one that may not come."""
        self._matcher.consume_token(token)
        self._check()

    def forced(self) -> list[int]:
        """Return the tokens that must come next, often none, and take note of them."""
        tokens: list[int] = self._matcher.compute_ff_tokens()
        if tokens:
            self._matcher.consume_tokens(tokens)
            self._check()
        return tokens

    @property
    def finished(self) -> bool:
        """Tell whether the text is complete and nothing may follow."""
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ValueError(f"the grammar says {self._matcher.get_error()}")


class Grammars:
    """Makes grammars for one model's tokens."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Take the tokenizer, which is read when the first grammar is made or before."""
        self._vocabulary = vocabulary
        self._lock = threading.Lock()
        self._tokenizer: Any = None

    def prepare(self) -> None:
        """Read the tokenizer, where llguidance is installed.

        It takes half a second in which no other Python runs, in whichever thread: it belongs to
        the time when the weights are loaded.
        """
        with contextlib.suppress(RefusedError):
            self._load()

    def make(self, schema: Mapping[str, Any], vocab: int) -> Grammar:
        """Return a grammar for a JSON schema and logits of `vocab` tokens.

        Raises RefusedError if there is none. A large schema takes a while: call it in a thread.
        """
        library, tokenizer = self._load()
        try:
            text = library.LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_STYLE)
            matcher = library.LLMatcher(tokenizer, text, log_level=0)
        except (ValueError, RecursionError) as error:
            raise RefusedError(400, f"The schema cannot be followed: {error}") from None
        if matcher.is_error():
            raise RefusedError(400, f"The schema cannot be followed: {matcher.get_error()}")
        return Grammar(matcher, vocab)

    def _load(self) -> tuple[Any, Any]:
        """Return the library and its view of the tokenizer."""
        try:
            import llguidance
        except ImportError:
            raise RefusedError(
                501, "This engine cannot constrain its output: llguidance is not installed there."
            ) from None
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = llguidance.LLTokenizer(
                    self._vocabulary.tokenizer.to_str(),
                    n_vocab=self._vocabulary.size,
                    eos_token=sorted(self._vocabulary.eos) or None,
                    slices=llguidance.LLTokenizer.json_slices(),
                )
        return llguidance, self._tokenizer
