"""The order of blocks: balanced, fixed by its seed, and the same when there are more of them."""

from collections import Counter

import pytest

from hyperllama_nb.bench.schedule import schedule
from hyperllama_nb.errors import RequestError

NAMES = ["a", "b", "c"]


def test_each_block_has_every_target_and_every_second_one_is_turned_round():
    order = schedule(NAMES, 6, 7)
    assert all(sorted(names) == NAMES for names in order)
    assert all(order[k + 1] == order[k][::-1] for k in (0, 2, 4))
    places = Counter((names.index("a")) for names in order)
    assert places[0] == places[2]


def test_the_seed_fixes_it():
    assert schedule(NAMES, 8, 7) == schedule(NAMES, 8, 7)
    assert len({schedule(NAMES, 8, seed) for seed in range(9)}) > 5


@pytest.mark.parametrize("blocks", range(1, 9))
def test_more_blocks_go_on_with_the_same_order(blocks):
    assert schedule(NAMES, 9, 3)[:blocks] == schedule(NAMES, blocks, 3)


@pytest.mark.parametrize(("targets", "blocks"), [([], 1), (["a"], 0), (["a", "a"], 1)])
def test_what_cannot_be_ordered_is_refused(targets, blocks):
    with pytest.raises(RequestError, match="name of its own"):
        schedule(targets, blocks)
