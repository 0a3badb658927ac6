"""The one event type that travels from an engine to a sink."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token's text and the natural logarithm of its probability, and those of others."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(slots=True)
class Event:
    """A piece of generated text, or the end of it.

    `text` may be empty: a token whose bytes end inside a character comes as an empty piece.
    The last event has a `reason`; counts are tokens, and None where the engine did not say.
    `prompt_tokens` includes `cached_tokens`.
    """

    text: str = ""
    reason: Literal["stop", "length"] | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
