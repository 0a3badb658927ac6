"""Ollama's options on their way to an engine."""

import math

import pytest

from hyperllama_nb.engines.sampling import HOTTEST, SEED_OF_ZERO, sampling
from hyperllama_nb.errors import InvalidOptionError


def test_ollamas_defaults_are_sent_explicitly():
    wire = sampling()
    assert wire.pop("seed") > 0
    assert wire == {
        "temperature": 0.8,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"temperature": 0}, "temperature", 0.0),
        ({"temperature": 7}, "temperature", HOTTEST),
        ({"top_k": 0}, "top_k", -1),
        ({"top_k": -1}, "top_k", -1),
        ({"top_k": 1.0}, "top_k", 1),
        ({"seed": 0}, "seed", SEED_OF_ZERO),
        ({"seed": 7}, "seed", 7),
        ({"seed": 2**63}, "seed", SEED_OF_ZERO),
        ({"num_predict": 0}, "max_tokens", 0),
        ({"num_predict": 5}, "max_tokens", 5),
        ({"num_predict": -1}, "max_tokens", None),
        ({"num_predict": -2}, "max_tokens", None),
        ({"stop": "x"}, "stop", ["x"]),
        ({"stop": ("x", "", "y")}, "stop", ["x", "y"]),
        ({"stop": []}, "stop", None),
        ({"repeat_penalty": 1.1}, "repetition_penalty", 1.1),
        ({"top_p": None}, "top_p", 0.9),
        ({"num_ctx": 4096}, "num_ctx", None),
    ],
)
def test_options_become_wire_parameters(options, name, value):
    assert sampling(options).get(name) == value


def test_a_random_seed_is_drawn_so_that_it_can_be_told():
    seeds = {sampling({"seed": -1})["seed"] for _ in range(20)}
    assert len(seeds) > 1
    assert all(0 < seed < SEED_OF_ZERO for seed in seeds)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": "hot"},
        {"top_p": 1.5},
        {"min_p": -1},
        {"top_k": 1.5},
        {"top_k": True},
        {"repeat_penalty": 0},
        {"presence_penalty": 3},
        {"frequency_penalty": -2.5},
        {"seed": "x"},
        {"stop": [1]},
        {"stop": 1},
    ],
)
def test_bad_options_are_refused_by_name(options):
    [name] = options
    with pytest.raises(InvalidOptionError, match=name):
        sampling(options)
