"""One answer on its way: its request, where it goes, and how its tokens become its text."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .request import Request
from .sampler import Sampler, logprobs
from .slots import Slot
from .text import TAIL, Text, Vocabulary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .grammar import Grammar


@dataclass(frozen=True, slots=True)
class Told:
    """A token and its log-probability, and those of the likeliest ones, which come in order."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """What a step adds to an answer; the last piece has a reason ("stop" or "length")."""

    text: str
    told: Told | None = None
    reason: str | None = None


class Sink(Protocol):
    """Where an answer goes."""

    def piece(self, generation: "Generation", piece: Piece) -> None:
        """Take the next piece."""
        ...

    def fail(self, status: int, message: str) -> None:
        """Take the news that no more comes."""
        ...


class Generation:
    """One answer; `made` counts its tokens, `cached` those of its prompt that were found ready."""

    def __init__(
        self,
        request: Request,
        sink: Sink,
        vocabulary: Vocabulary,
        grammar: "Grammar | None" = None,
    ) -> None:
        self.request = request
        self.sink = sink
        self.slot: Slot | None = None
        self.made = 0
        self.cached = 0
        self.over = False
        self.arrived = self.spoke = time.monotonic()
        self._vocabulary = vocabulary
        self._grammar = grammar
        self._sampler = Sampler(request.sampling)
        self._text = Text(vocabulary, request.prompt[-TAIL:].tolist())
        self._ends = request.stop_ids | (frozenset() if request.ignore_eos else vocabulary.eos)
        self._tail = ""
        self._reach = max((len(stop) for stop in request.stop), default=1) - 1
        self._opening = ""
        self._ended: str | None = None
        # What a grammar leaves no choice about costs no step, but has no log-probability either.
        self._forces = grammar is not None and request.logprobs is None

    def begin(self, slot: Slot) -> None:
        """Take a slot, which holds the prompt, and the text that a grammar opens with."""
        self.slot = slot
        self.cached = slot.held
        if self._forces and self._grammar is not None:
            self._opening, self._ended = self._add(slot, self._grammar.forced())
            if self._grammar.finished:
                self._ended = self._ended or "stop"

    def advance(self, logits: "NDArray[np.float32]") -> Piece:
        """Choose the next token by its logits.

        Raises ValueError where none can be chosen.
        """
        slot, grammar = self.slot, self._grammar
        assert slot is not None
        if self._ended is not None:
            return Piece(self._opening, None, self._ended)
        history = slot.history[: slot.length]
        allowed = grammar.allowed() if grammar is not None else None
        token = self._sampler.draw(logits, history, allowed)
        told = None if self.request.logprobs is None else self._tell(logits, token)
        tokens = [token]
        if grammar is not None and token not in self._ends:
            grammar.consume(token)
            if self._forces:
                tokens += grammar.forced()
        text, reason = self._add(slot, tokens)
        if grammar is not None and reason is None and grammar.finished:
            reason = "stop"
        if self._opening:
            text, self._opening = self._opening + text, ""
        if self.request.stop and self._stops(text):
            reason = "stop"
        return Piece(text, told, reason)

    def _add(self, slot: Slot, tokens: list[int]) -> tuple[str, str | None]:
        """Put tokens behind the others; returns their text, and why the answer ends with them."""
        text = ""
        for token in tokens:
            self.made += 1
            if token in self._ends:
                return text, "stop"
            text += self._text.add(token)
            slot.add(token)
            if slot.full or (self.request.limit is not None and self.made >= self.request.limit):
                return text, "length"
        return text, None

    def _stops(self, text: str) -> bool:
        """Tell whether a stop string is complete with a further piece of text."""
        seen = self._tail + text
        if any(stop in seen for stop in self.request.stop):
            return True
        self._tail = seen[-self._reach :] if self._reach else ""
        return False

    def _tell(self, logits: "NDArray[np.float32]", token: int) -> Told:
        value, top = logprobs(logits, token, self.request.logprobs or 0)
        spell = self._vocabulary.spell
        return Told(spell(token), value, tuple((spell(one), other) for one, other in top))
