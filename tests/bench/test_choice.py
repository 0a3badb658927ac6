"""What people choose, and the loads and prompts that follow from it."""

import json

import pytest

from hyperllama_nb.bench.choice import WORKLOADS, Choice
from hyperllama_nb.bench.records import Cell
from hyperllama_nb.errors import RequestError

CELL = Cell("2 at a time", concurrency=2, requests=6, warmup=2)


def words(text):
    return len(text.split())


def chosen(**fields):
    plain = {"concurrency": (2,), "input_tokens": 40, "output_tokens": 8, "requests": 6}
    return Choice("m", ("a", "b"), **{**plain, **fields})


def prompts(workload, block=0, **fields):
    choice = chosen(workload=workload, **fields)
    return choice.load(choice.cells()[0], block, words).prompts


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_load_has_a_prompt_for_each_request_and_none_comes_again(workload):
    one, two = prompts(workload), prompts(workload, block=1)
    assert len(one) == len(two) == CELL.requests + CELL.warmup
    assert len({prompt.text for prompt in (*one, *two)}) == 16
    assert one == prompts(workload)
    assert one != prompts(workload, seed=1)


def test_other_loads_of_a_block_have_other_prompts():
    choice = chosen(concurrency=(1, 2, 2), rates=(0.5,))
    assert [cell.name for cell in choice.cells()] == ["1 at a time", "2 at a time", "0.5/s"]
    texts = {choice.load(cell, 0).prompts[0].text for cell in choice.cells()}
    assert len(texts) == 3


@pytest.mark.parametrize("workload", ["fixed", "prefix"])
def test_lengths_are_those_that_were_asked_for(workload):
    found = prompts(workload)
    assert {words(prompt.text) for prompt in found} == {40}
    assert {(prompt.asked_prompt, prompt.asked_output) for prompt in found} == {(40, 8)}


@pytest.mark.parametrize(("workload", "least", "most"), [("uniform", 20, 60), ("normal", 1, 79)])
def test_lengths_vary_round_those_that_were_asked_for(workload, least, most):
    found = prompts(workload, requests=300)
    lengths = [prompt.asked_prompt for prompt in found]
    assert least <= min(lengths) < 35 < 45 < max(lengths) <= most
    assert 36 < sum(lengths) / len(lengths) < 44
    assert [words(prompt.text) for prompt in found] == lengths


def test_three_quarters_of_a_prefix_are_shared():
    found = [prompt.text.split() for prompt in prompts("prefix")]
    assert all(each[:30] == found[0][:30] for each in found)
    assert len({each[30] for each in found}) > 1


def test_conversations_grow_and_end_after_four_turns():
    found = prompts("turns", requests=10)
    assert [prompt.asked_prompt for prompt in found[::2]] == [40, 88, 136, 184, 40, 88]
    assert [words(prompt.text) for prompt in found[::2]] == [40, 88, 136, 184, 40, 88]
    assert found[2].text.startswith(found[0].text)
    assert not found[8].text.startswith(found[0].text)


def test_the_noise_floor_measures_the_first_target_twice():
    assert chosen().specs == ("a", "b")
    assert chosen(noise_floor=True).specs == ("a", "b", "a")
    assert Choice("m", ("a", "a"), noise_floor=True).specs == ("a", "a")


def test_quick_is_short_but_for_what_was_chosen():
    quick = Choice.quick("m", ["a"], blocks=9)
    assert (quick.input_tokens, quick.output_tokens, quick.requests) == (64, 32, 6)
    assert quick.blocks == 9


def test_no_warm_up_is_none():
    assert [cell.warmup for cell in chosen(warmup=0, rates=(1.0,)).cells()] == [0, 0]


def test_options_stand_above_the_greedy_ones():
    assert chosen(options={"seed": 5}).sampling == {"temperature": 0, "seed": 5}
    assert json.dumps(chosen(options={"seed": 5}).plain())


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"workload": "none"}, "fixed, uniform"),
        ({"blocks": 0}, "`blocks` is 0"),
        ({"input_tokens": -1}, "`input_tokens`"),
        ({"warmup": -1}, "`warmup`"),
        ({"concurrency": (0,)}, "above 0"),
        ({"rates": (-1.0,)}, "above 0"),
    ],
)
def test_what_measures_nothing_is_refused_in_words(fields, told):
    with pytest.raises(RequestError, match=told):
        chosen(**fields).cells()


def test_no_target_is_refused():
    with pytest.raises(RequestError, match="at least one target"):
        Choice("m", ())
