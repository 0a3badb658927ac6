"""Workloads: the same for a seed, as long as asked, and new to every cache."""

import pytest

from hyperllama_nb.bench import workloads
from hyperllama_nb.bench.records import Load


def words(text):
    return len(text.split())


def test_the_same_seed_makes_the_same_prompts_and_another_seed_others():
    assert workloads.fixed(4, 16, 8, seed=1) == workloads.fixed(4, 16, 8, seed=1)
    assert workloads.fixed(4, 16, 8, seed=1) != workloads.fixed(4, 16, 8, seed=2)


def test_prompts_have_the_length_that_was_asked_for():
    load = workloads.fixed(5, 64, 8, tokens=words)
    assert [words(prompt.text) for prompt in load.prompts] == [64] * 5


def test_no_two_prompts_begin_alike():
    load = workloads.fixed(200, 64, 8)
    assert len({tuple(prompt.text.split()[:8]) for prompt in load.prompts}) == 200


def test_lengths_stay_between_their_ends():
    load = workloads.spread(100, (10, 20), (5, 9))
    assert {prompt.asked_prompt for prompt in load.prompts} == set(range(10, 21))
    assert {prompt.asked_output for prompt in load.prompts} == set(range(5, 10))
    normal = workloads.spread(300, (50, 40), (20, 5), kind="normal")
    assert all(1 <= prompt.asked_prompt < 100 for prompt in normal.prompts)


def test_shared_prefixes_are_shared_and_the_rest_is_not():
    first, second, third = workloads.prefix(3, 32, 16, 8, prefixes=2, tokens=words).prompts
    assert first.text.split("\n")[0] == third.text.split("\n")[0] != second.text.split("\n")[0]
    assert first.text != third.text


def test_a_turn_holds_all_before_it():
    load = workloads.turns(4, 8, 8, sessions=2, tokens=words)
    assert load.prompts[2].text.startswith(load.prompts[0].text)
    assert load.prompts[3].text.startswith(load.prompts[1].text)
    assert [prompt.asked_prompt for prompt in load.prompts] == [8, 8, 24, 24]


def test_a_load_goes_through_json():
    load = workloads.sample(3, 8, seed=5)
    assert Load.from_plain(load.plain()) == load


class Tokenizer:
    """Takes words of up to five letters as one token, others as two, and counts the calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, text):
        self.calls += 1
        return sum(1 + (len(word) > 5) for word in text.split())


@pytest.mark.parametrize("length", [1, 2, 7, 128])
def test_prompts_are_made_of_words_of_one_token_and_few_counts(length):
    count = Tokenizer()
    load = workloads.fixed(20, length, 8, tokens=count)
    assert [count(prompt.text) for prompt in load.prompts] == [length] * 20
    assert count.calls < 300  # most of them once, to find the words


def test_a_tokenizer_without_such_words_comes_near():
    load = workloads.fixed(5, 65, 8, tokens=lambda text: 2 * words(text))
    assert all(2 * words(prompt.text) in (64, 66) for prompt in load.prompts)
