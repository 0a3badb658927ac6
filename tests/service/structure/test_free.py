"""Answers that the model writes itself."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperllama_nb.errors import EngineError, RequestError
from hyperllama_nb.service.structure.check import Checker
from hyperllama_nb.service.structure.closing import Closing
from tests.service.structure.engines import Stub, answer, completing, noise, writing

MAP = {"type": "object", "additionalProperties": {"type": "integer"}}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(VALUES, st.data(), st.booleans())
def test_json_is_closed_wherever_it_breaks_off(value, data, escaped):
    text = json.dumps(value, ensure_ascii=escaped)
    length = data.draw(st.integers(0, len(text)))
    closing = Closing()
    shown = closing.feed(text[:length])
    assert not closing.broken
    whole = json.loads(shown + closing.end())
    if length == len(text):
        assert whole == value


@settings(max_examples=300, deadline=None)
@given(st.text('{}[]":,\\ utrnefalse0123-.eE\n'))
def test_what_is_no_json_is_closed_before_that(text):
    closing = Closing()
    shown = closing.feed(text)
    json.loads(shown + closing.end())


def test_the_first_answer_that_follows_is_taken():
    tries = iter(['"a": "x"}', '"a": 1, "a', "oh", '"a": 7} and more'])
    mode, text, last = answer(Stub(lambda before: [next(tries)]), MAP)
    assert (mode, text, last.reason) == ("validated", '{"a": 7}', "stop")


def test_further_tries_differ_in_seed_and_warmth():
    tries = iter(["x", "x", "}"])
    engine = Stub(lambda before: [next(tries)])
    answer(engine, "json", temperature=0.0)
    asked = [params for _, params in engine.asked]
    assert [params["temperature"] for params in asked] == [0.0, 0.5, 0.5]
    assert len({params["seed"] for params in asked}) == 3


def test_never_invalid_json():
    engine = Stub(writing('"a": "x"}'))
    with pytest.raises(EngineError, match=r"None of 4 answers .* follows the format"):
        answer(engine, MAP)
    assert len(engine.asked) == 4
    assert engine.open == 0


@pytest.mark.parametrize(
    ("schema", "written", "value"),
    [("json", '"b": [1, {"c', {"b": [1]}), ({"type": "array"}, '"a", tru', ["a"])],
)
def test_an_answer_that_breaks_off_is_closed(schema, written, value):
    _, text, last = answer(Stub(writing(*written)), schema, limit=8)
    assert json.loads(text) == value
    assert last.reason == "length"


def test_no_room_gives_the_smallest_json():
    assert answer(Stub(writing("x")), "json", limit=0)[1] == "{}"
    assert answer(Stub(writing("x")), {"type": "array"}, limit=0)[1] == "[]"
    assert answer(Stub(writing("x"), able=["constrain"]), "json", limit=0)[1] == "{}"


def test_a_pattern_cannot_hang_the_service():
    schema = {"type": "array", "items": {"type": "string", "pattern": "^(a+)+$"}}
    text = json.dumps(["a" * 40 + "!"] * 20)
    started = time.monotonic()
    assert "does not match" in Checker(schema).fault(text)
    assert time.monotonic() - started < 20
    assert Checker(schema).fault('["aaa"]') is None


@pytest.mark.parametrize("text", ["NaN", '{"a": Infinity}', "[" * 5000, "{'a': 1}", ""])
def test_only_strict_json_counts(text):
    assert "no JSON" in Checker({}).fault(text)


def test_an_engine_that_can_is_told_the_schema():
    engine = Stub(completing(' {"a": 1}\n'), able=["constrain"])
    mode, text, last = answer(engine, "json", stop=["1"])
    assert (mode, text, last.reason) == ("constrained", ' {"a": 1}', "stop")
    assert engine.asked[0][1]["schema"] == {"type": "object"}
    assert "stop" not in engine.asked[0][1]


def test_a_broken_promise_is_an_error_in_words():
    engine = Stub(writing('{"a": "x"}'), able=["constrain"])
    with pytest.raises(EngineError, match="backend stub was told to follow the format"):
        answer(engine, MAP, mode="constrained")


def test_a_constrained_answer_that_breaks_off_is_closed():
    engine = Stub(writing(*'{"a": "bcd", "e": tr'), able=["constrain"])
    _, text, last = answer(engine, "json", limit=19)
    assert (json.loads(text), last.reason) == ({"a": "bcd"}, "length")


def test_a_schema_that_the_engine_refuses_is_checked_instead():
    def write(before):
        if "schema" in engine.asked[-1][1]:
            raise RequestError("The engine refused the request: no grammar.")
        return ["[1]"] if not before else ["1, 2]"]

    engine = Stub(write, able=["constrain"])
    schema = {"type": "array", "uniqueItems": True}
    assert answer(engine, schema)[:2] == ("validated", "[1, 2]")


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 200))
def test_random_text_is_json_or_an_error(seed, limit):
    write, _ = noise(seed)
    try:
        _, text, _ = answer(Stub(write), "json", limit)
    except EngineError:
        return
    assert isinstance(json.loads(text), dict)
