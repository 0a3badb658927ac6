"""The slots of the KV cache: what each holds, and which one a new prompt takes."""

from typing import TYPE_CHECKING, Protocol

import numpy as np

from .base import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]

WORTH = 16
"""Tokens: a shorter common beginning is computed anew rather than copied, which costs a call."""


class Copies(Protocol):
    """What can copy a beginning between slots, as a model does."""

    def copy(self, source: int, target: int, tokens: int) -> None:
        """Copy the first `tokens` of a slot's cache into another slot's."""
        ...


class Slot:
    """One sequence's place in the cache.

    `history` has room for the context's tokens; the first `length` are those of the sequence, and
    the first `held` of them are in the cache, also after the sequence has ended.
    """

    __slots__ = ("busy", "held", "history", "index", "length", "used")

    def __init__(self, index: int, context: int) -> None:
        self.index = index
        self.history: Ids = np.zeros(context, dtype=np.int64)
        self.length = 0
        self.held = 0
        self.busy = False
        self.used = 0

    def add(self, token: int) -> None:
        """Put a token behind the others; it is not in the cache yet."""
        self.history[self.length] = token
        self.length += 1

    @property
    def full(self) -> bool:
        """Tell whether no further token has room."""
        return self.length >= self.history.size

    def common(self, prompt: "Ids", page: int) -> int:
        """Return how many tokens of a prompt the cache begins with, in whole pages.

        The prompt's last token never counts: it must be computed for what comes next.
        """
        length = min(self.held, prompt.size - 1)
        different = np.flatnonzero(self.history[:length] != prompt[:length])
        found = int(different[0]) if different.size else length
        return found - found % page


class Slots:
    """All slots of a model."""

    def __init__(self, model: Model) -> None:
        self.all = tuple(Slot(index, model.context) for index in range(model.slots))
        self._model: Copies = model
        self._page = model.page
        self._tick = 0

    @property
    def free(self) -> list[Slot]:
        """Return the slots without a sequence, the longest unused one first."""
        return sorted((slot for slot in self.all if not slot.busy), key=lambda slot: slot.used)

    def take(self, prompt: "Ids") -> Slot:
        """Give a prompt a free slot (there must be one) that holds as much of it as any slot does.

        `held` is then what need not be computed. A conversation that goes on keeps its slot; one
        that only begins like another takes a copy of the beginning, and leaves the other whole.
        """
        free = self.free
        shared = {slot.index: slot.common(prompt, self._page) for slot in self.all}
        source = max(self.all, key=lambda slot: (shared[slot.index], not slot.busy, slot.used))
        tokens = shared[source.index]
        if not source.busy and (2 * tokens > source.held or len(free) == 1):
            chosen = source
        else:
            # Where the common part is too short to matter, so is the source.
            chosen = next(slot for slot in free if slot is not source or tokens < WORTH)
            if tokens < shared[chosen.index] + WORTH:
                tokens = shared[chosen.index]
            else:
                chosen.held = 0  # for good, should the copy fail
                self._model.copy(source.index, chosen.index, tokens)
        chosen.busy = True
        chosen.held, chosen.length = tokens, prompt.size
        chosen.history[: prompt.size] = prompt
        return chosen

    def release(self, slot: Slot, *, lost: bool = False) -> None:
        """Take a slot back; what it holds stays for later prompts, unless it is `lost`."""
        self._tick += 1
        slot.busy, slot.used = False, self._tick
        if lost:
            slot.held = 0
