"""The order of an experiment: every target once per load in each block, mixed by a seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hyperllama_nb.errors import RequestError


@dataclass(frozen=True)
class Turn:
    """One target under one load in one block."""

    block: int
    cell: str
    target: str


@dataclass(frozen=True)
class Schedule:
    """The targets' order in each block; `one_at_a_time` keeps a target's turns of it together."""

    order: tuple[tuple[str, ...], ...]
    cells: tuple[str, ...]
    seed: int
    one_at_a_time: bool = True

    def turns(self) -> Iterator[Turn]:
        """Yield all turns: target by target in a block, so that it is loaded once, or by load."""
        for block, names in enumerate(self.order):
            if self.one_at_a_time:
                yield from (Turn(block, cell, name) for name in names for cell in self.cells)
            else:
                yield from (Turn(block, cell, name) for cell in self.cells for name in names)


def schedule(
    targets: Sequence[str],
    cells: Sequence[str],
    blocks: int,
    seed: int = 0,
    *,
    one_at_a_time: bool = True,
) -> Schedule:
    """Return a balanced order: random, and every second block turns the one before round (ABBA).

    So a slow drift of the machine cancels out over two blocks. Raises RequestError for no
    targets, loads or blocks, or for a name that is there twice.
    """
    if not targets or not cells or blocks < 1 or len(set(targets)) != len(targets):
        raise RequestError(
            "An experiment needs at least one target, one load and one block, and each target "
            "under a name of its own: measure one twice under two names."
        )
    chance = random.Random(seed)  # noqa: S311 - it mixes an order, it keeps no secret
    order: list[tuple[str, ...]] = []
    for block in range(blocks):
        if block % 2:
            order.append(order[-1][::-1])
        else:
            order.append(tuple(chance.sample(list(targets), len(targets))))
    return Schedule(tuple(order), tuple(cells), seed, one_at_a_time)
