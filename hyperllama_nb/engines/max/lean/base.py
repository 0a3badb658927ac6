"""What the engine asks of a model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Tokens = Sequence[int] | NDArray[np.int64]


PAGE = 128
"""Tokens in a page of MAX's KV cache, in which its metrics count, too."""


class Row(NamedTuple):
    """One sequence's part of a step.

    `slot` tells whose KV cache it is, `start` how many tokens of that cache hold (what is cached
    beyond them is overwritten), and `tokens` are the new ones, at least one.
    """

    slot: int
    start: int
    tokens: "Tokens"


class Model(Protocol):
    """A model with a KV cache of `slots` sequences, each of at most `context` tokens.

    Prompts are read in parts that end at multiples of `page` tokens, and used again in such parts:
    a model's numbers may depend, in their last digits, on where the parts end, and the same prompt
    is to get the same text whatever ran before or runs beside it.
    """

    vocab: int
    context: int
    slots: int
    page: int

    def forward(self, rows: Sequence[Row]) -> "NDArray[np.float32]":
        """Compute the rows, prompts and single tokens mixed; no slot comes twice.

        Returns the logits of each row's last token, [len(rows), vocab], valid until the next call.
        """
        ...

    def copy(self, source: int, target: int, tokens: int) -> None:
        """Copy the first `tokens` of a slot's cache into another slot's."""
        ...
