"""The form of a benchmark: what a choice looks like in it, and what is said of what is wrong."""

import pytest

from hyperllama_nb.bench.choice import Choice
from hyperllama_nb.bench.throughput import Objectives
from hyperllama_nb.models import Store
from hyperllama_nb.runtime import socket_path
from hyperllama_nb.testing import install_tiny
from hyperllama_nb.widgets import _benchmarkform as form
from tests.service.hosting import hosting

CHOICE = Choice("tiny", ("fake", "http://host:8000/v1#other"), concurrency=(1, 4), rates=(0.5,))


def test_a_choice_comes_back_from_its_form():
    fields = form.written(CHOICE, ["fake", "other"])
    assert fields["targets"] == ["fake"]
    assert fields["others"] == "http://host:8000/v1#other"
    assert (fields["concurrency"], fields["rates"]) == ("1, 4", "0.5")
    assert form.read(fields, Choice("x", ("y",))) == (CHOICE, {})


def test_fields_that_are_not_there_leave_what_was_chosen():
    assert form.read({}, CHOICE) == (CHOICE, {})
    found, problems = form.read({"blocks": " 3 ", "noise_floor": True}, CHOICE)
    assert (found.blocks, found.noise_floor, problems) == (3, True, {})


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("model", " ", "Name a model"),
        ("concurrency", "1, 0", "from 1 up"),
        ("concurrency", "one", "from 1 up"),
        ("rates", "-1", "above 0"),
        ("rates", "inf", "above 0"),
        ("workload", "heavy", "fixed, "),
        ("input_tokens", "", "whole number"),
        ("blocks", "2.5", "whole number"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(field, text, words):
    found, problems = form.read({field: text}, CHOICE)
    assert found == CHOICE
    assert problems.keys() == {field}
    assert words in problems[field]


def test_a_target_and_a_load_are_needed():
    _, problems = form.read({"targets": [], "others": " , "}, CHOICE)
    assert "at least one target" in problems["targets"]
    _, problems = form.read({"concurrency": "", "rates": ""}, CHOICE)
    assert "at least one load" in problems["concurrency"]
    found, problems = form.read({"concurrency": ""}, CHOICE)
    assert (found.concurrency, found.rates, problems) == ((), (0.5,), {})


def test_objectives_are_milliseconds_in_the_view_alone():
    before = Objectives(ttft=1.0, e2e=5.0)
    after = form.limits({"ttft": 250, "tpot": 12.5, "e2e": None}, before)
    assert after == Objectives(ttft=0.25, tpot=0.0125)
    assert form.milliseconds(after) == {"ttft": 250, "tpot": 12.5, "e2e": None}
    assert form.limits({"ttft": "fast", "tpot": -1}, before) == Objectives(e2e=5.0)
    assert form.limits({}, before) == before


def test_without_a_service_the_store_and_the_installed_backends_are_told():
    install_tiny(Store())
    found = form.known(None)
    assert found["models"] == ["tiny:latest"]
    assert "max" in found["backends"]
    assert not socket_path().exists()


def test_a_service_tells_its_models_and_backends():
    with hosting("thread"):
        assert form.known(None) == {"models": ["tiny:latest"], "backends": ["fake"]}


def test_a_service_elsewhere_that_does_not_answer_tells_nothing():
    assert form.known("http://127.0.0.1:1") == {"models": [], "backends": []}
