"""The order of an experiment: every target has its turn in each block, mixed by a seed."""

import random
from collections.abc import Sequence

from hyperllama_nb.errors import RequestError


def schedule(targets: Sequence[str], blocks: int, seed: int = 0) -> tuple[tuple[str, ...], ...]:
    """Return a balanced order: random, and every second block turns the one before round (ABBA).

    So a slow drift of the machine cancels out over two blocks. A longer schedule of the same seed
    begins with a shorter one. Raises RequestError for no targets or blocks, or for a name that is
    there twice.

    >>> schedule(["a", "b"], 4)
    (('b', 'a'), ('a', 'b'), ('a', 'b'), ('b', 'a'))
    """
    if not targets or blocks < 1 or len(set(targets)) != len(targets):
        raise RequestError(
            "An experiment needs at least one target and one block, and each target under a name "
            "of its own: measure one twice under two names."
        )
    chance = random.Random(seed)  # noqa: S311 - it mixes an order, it keeps no secret
    order: list[tuple[str, ...]] = []
    for block in range(blocks):
        if block % 2:
            order.append(order[-1][::-1])
        else:
            order.append(tuple(chance.sample(list(targets), len(targets))))
    return tuple(order)
