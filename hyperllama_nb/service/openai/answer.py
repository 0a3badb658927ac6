"""An answer in OpenAI's form, whole or as a stream of events."""

import json
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

from hyperllama_nb.service.ask import Outcome, Piece
from hyperllama_nb.service.openai.choices import Part
from hyperllama_nb.service.openai.fields import Form

quoted = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""Writes JSON; a bound method of an encoder is the fastest for a short text."""

DONE = b"data: [DONE]\n\n"


class Answer(ABC):
    """What one request is answered with: the constant parts once, the choices as they come.

    The choices that answer the same prompt stand side by side, `form.n` of them.
    """

    prefix: ClassVar[str]
    """What an id begins with."""
    whole_kind: ClassVar[str]
    chunk_kind: ClassVar[str]
    """The `object` of a whole answer and of a part."""

    def __init__(self, model: str, form: Form) -> None:
        self.form = form
        self._head: dict[str, Any] = {
            "id": f"{self.prefix}-{secrets.token_hex(12)}",
            "object": self.chunk_kind,
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": "fp_ollama",
        }
        self._before = f'data: {quoted(self._head)[:-1]},"choices":['
        self._behind = "]" + (',"usage":null' if form.usage else "") + "}\n\n"

    @abstractmethod
    def choices(self, index: int, piece: Piece) -> list[str]:
        """Return the choices, as JSON, that tell a piece of the answer `index`."""

    @abstractmethod
    def end(self, index: int, outcome: Outcome) -> list[str]:
        """Return the choices, as JSON, that end the answer `index`."""

    @abstractmethod
    def choice(self, index: int, outcome: Outcome) -> dict[str, Any]:
        """Return the whole answer `index`."""

    async def events(self, parts: AsyncGenerator[Part, None]) -> AsyncGenerator[bytes, None]:
        """Stream the events of an answer: one write for each piece, then the end."""
        outcomes: dict[int, Outcome] = {}
        async with aclosing(parts):
            async for index, part in parts:
                if isinstance(part, Piece):
                    choices = self.choices(index, part)
                else:
                    outcomes[index] = part
                    choices = self.end(index, part)
                if choices:
                    yield self._framed(choices)
        last = DONE
        if self.form.usage:
            whole = {**self._head, "choices": [], "usage": self._usage(outcomes)}
            last = f"data: {quoted(whole)}\n\n".encode() + DONE
        yield last

    async def whole(self, parts: AsyncGenerator[Part, None]) -> dict[str, Any]:
        """Return the whole answer."""
        async with aclosing(parts):
            outcomes = {index: part async for index, part in parts if isinstance(part, Outcome)}
        return {
            **self._head,
            "object": self.whole_kind,
            "choices": [self.choice(index, outcomes[index]) for index in sorted(outcomes)],
            "usage": self._usage(outcomes),
        }

    def _framed(self, choices: Sequence[str]) -> bytes:
        before, behind = self._before, self._behind
        return "".join([f"{before}{choice}{behind}" for choice in choices]).encode()

    def _usage(self, outcomes: Mapping[int, Outcome]) -> dict[str, Any]:
        """Return the token counts of all answers; a prompt counts once, however many it has."""
        prompts = [outcome for index, outcome in outcomes.items() if index % self.form.n == 0]
        given = sum(outcome.prompt_tokens for outcome in prompts)
        made = sum(outcome.output_tokens for outcome in outcomes.values())
        usage: dict[str, Any] = {
            "prompt_tokens": given,
            "completion_tokens": made,
            "total_tokens": given + made,
        }
        cached = [outcome.cached_tokens for outcome in prompts]
        if any(count is not None for count in cached):
            usage["prompt_tokens_details"] = {"cached_tokens": sum(c or 0 for c in cached)}
        return usage


def told(outcome: Outcome) -> dict[str, Any]:
    """Return what else there is to tell of an answer: what was cut, ignored, how long it took."""
    found: dict[str, Any] = outcome.metrics()["hyperllama"]
    return found
