"""A model whose logits are a pure function of the tokens that a slot's cache really holds."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from hyperllama_nb.engines.max.lean.base import Row

EOS = 0


class FakeModel:
    """Hashes each slot's history into logits; a wrong slot, start or copy changes the text."""

    def __init__(
        self,
        vocab: int = 300,
        context: int = 256,
        slots: int = 4,
        page: int = 1,
        *,
        delay: float = 0.0,
        eos: float = -2.0,
    ) -> None:
        self.vocab, self.context, self.slots = vocab, context, slots
        self.page = page
        self.delay = delay
        self.cache = [np.full(context, -1, dtype=np.int64) for _ in range(slots)]
        self.steps: list[list[tuple[int, int, int]]] = []
        self.copies: list[tuple[int, int, int]] = []
        self.failing = 0
        self.gate: threading.Event | None = None
        self._eos = eos
        self._out = np.zeros((slots, vocab), dtype=np.float32)
        self._powers = pow_mod(context)

    def forward(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        if self.gate is not None:
            self.gate.wait(10)
        if self.delay:
            time.sleep(self.delay)
        if self.failing:
            self.failing -= 1
            raise RuntimeError("the graph broke")
        assert len({row.slot for row in rows}) == len(rows)
        self.steps.append([(row.slot, row.start, len(row.tokens)) for row in rows])
        for place, row in enumerate(rows):
            new = np.asarray(row.tokens, dtype=np.int64)
            end = row.start + len(new)
            assert len(new)
            assert end <= self.context
            held = self.cache[row.slot]
            held[row.start : end] = new
            held[end:] = -1
            self._out[place] = self.logits(held[:end])
        return self._out[: len(rows)]

    def logits(self, history: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what this model says behind a text."""
        assert (history >= 0).all()
        seed = int((history * self._powers[: history.size]).sum() & 0x7FFFFFFF)
        row = np.random.Generator(np.random.PCG64(seed)).standard_normal(self.vocab, np.float32)
        row[EOS] = self._eos
        return row

    def copy(self, source: int, target: int, tokens: int) -> None:
        assert source != target
        assert tokens > 0
        assert (self.cache[source][:tokens] >= 0).all()
        self.copies.append((source, target, tokens))
        self.cache[target][:] = -1
        self.cache[target][:tokens] = self.cache[source][:tokens]


def pow_mod(count: int) -> NDArray[np.int64]:
    """Return weights by place, so that the order of tokens counts."""
    value, found = 1, []
    for _ in range(count):
        value = value * 1103515245 % 2147483647
        found.append(value % 1_000_003 + 1)
    return np.array(found, dtype=np.int64)


def write_tokenizer(directory: Path, words: Sequence[str] = ()) -> Path:
    """Write a byte-level tokenizer: `<end>`, a token for each byte, and words of ASCII letters."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<end>": EOS, **{letter: index + 1 for index, letter in enumerate(alphabet)}}
    merges: list[tuple[str, str]] = []
    for word in words:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocab:
                vocab[word[:end]] = len(vocab)
                merges.append((word[: end - 1], word[end - 1]))
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "config.json").write_text(f'{{"eos_token_id": {EOS}}}')
    return directory
