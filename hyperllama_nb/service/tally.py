"""Running totals of each model, counted while tokens stream."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

RECENT = 64
"""First tokens whose times are remembered, for those who ask what has come since they last did."""


@dataclass
class Tally:
    """What a model has done since the service began; it outlives the model's engines.

    `prompt_tokens` grow when a prompt has been read, those of it that were in the cache included,
    `output_tokens` with each piece of text.
    """

    prompt_tokens: int = 0
    output_tokens: int = 0
    first_tokens: int = 0
    waits: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def first_token(self, seconds: float) -> None:
        """Count an answer that has begun, and how long after its request it did."""
        self.first_tokens += 1
        self.waits.append(round(seconds, 4))

    def plain(self) -> dict[str, Any]:
        """Return it as JSON; `waits` are the last ones, the newest at the end."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.output_tokens,
            "first_tokens": self.first_tokens,
            "waits": list(self.waits),
        }


class Tallies(dict[str, Tally]):
    """A tally for each model by its name, made when it is first asked for."""

    def __missing__(self, model: str) -> Tally:
        made = self[model] = Tally()
        return made
