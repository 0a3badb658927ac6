"""The service writes the structure, the model fills the leaves."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from hyperllama_nb.service import structure
from hyperllama_nb.service.structure.asking import Asking
from hyperllama_nb.service.structure.choose import _parting
from tests.service.structure.engines import Stub, answer, completing, noise, writing

TEXTS = st.builds(
    lambda low, more: (
        {"type": "string"}
        | ({"minLength": low} if low else {})
        | ({"maxLength": low + more} if more is not None else {})
    ),
    st.integers(0, 4),
    st.none() | st.integers(0, 8),
)
LIMITS = st.integers(-50, 50) | st.floats(-50, 50)


@st.composite
def numbers(draw):
    kind = draw(st.sampled_from(["integer", "number"]))
    low, high = sorted(draw(st.tuples(LIMITS, LIMITS)))
    schema = {"type": kind}
    if draw(st.booleans()):
        schema["minimum"] = low
    if draw(st.booleans()):
        schema["exclusiveMaximum" if draw(st.booleans()) else "maximum"] = high + 2
    if kind == "integer" and "maximum" not in schema and "exclusiveMaximum" not in schema:
        schema["multipleOf"] = draw(st.integers(1, 9))
    return schema


VALUES = st.none() | st.booleans() | st.integers(-20, 20) | st.text(max_size=6)
CHOICES = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(lambda value: {"const": value}, VALUES),
    st.builds(
        lambda values: {"enum": values},
        st.lists(VALUES, min_size=1, max_size=10, unique_by=json.dumps),
    ),
)
NAMES = st.text(max_size=6)


def objects(inner):
    return st.builds(
        lambda properties, data: {
            "type": "object",
            "properties": properties,
            "required": [name for name in properties if data.get(name, True)],
            "additionalProperties": False,
        },
        st.dictionaries(NAMES, inner, max_size=4),
        st.dictionaries(NAMES, st.booleans(), max_size=2),
    )


def arrays(inner):
    return st.builds(
        lambda item, low, more: (
            {"type": "array", "items": item}
            | ({"minItems": low} if low else {})
            | ({"maxItems": low + more} if more is not None else {})
        ),
        inner,
        st.integers(0, 3),
        st.none() | st.integers(0, 3),
    )


def nullable(inner):
    return st.builds(lambda one: {"anyOf": [one, {"type": "null"}]}, inner)


LEAVES = TEXTS | numbers() | CHOICES
SCHEMAS = objects(
    st.recursive(LEAVES, lambda x: objects(x) | arrays(x) | nullable(x), max_leaves=6)
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(SCHEMAS, st.integers(0, 10**6), st.integers(1, 600), st.booleans(), st.booleans())
def test_whatever_the_model_writes_is_valid(schema, seed, limit, tells, cuts):
    structure.read(schema)
    if structure.plan(schema, frozenset()) != "filled":
        return
    write, tops = noise(seed)
    engine = Stub(write, tops=tops if tells else None, cuts=cuts)
    _, text, last = answer(engine, schema, limit)
    value = json.loads(text)
    assert Draft202012Validator(schema).is_valid(value)
    assert last.reason in ("stop", "length")
    assert len(engine.asked) <= limit


@pytest.mark.parametrize("pieces", [[], [""], ["x"] * 5000, ["\\"] * 5000, ["9"] * 5000, ['\\"']])
@pytest.mark.parametrize("endless", [False, True])
def test_a_model_that_never_ends_comes_to_an_end(pieces, endless):
    schema = {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "number": {"type": "number"},
            "list": {"type": "array", "items": {"type": "string"}},
            "kind": {"enum": ["one", "two"]},
        },
    }
    engine = Stub(writing(*pieces), endless=endless)
    _, text, _ = answer(engine, schema, 300)
    assert Draft202012Validator(schema).is_valid(json.loads(text))
    assert len(engine.asked) <= 300


CITY = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "people": {"type": "integer"},
        "capital": {"type": "boolean"},
        "kind": {"enum": ["town", "tower", "city"]},
        "sights": {"type": "array", "items": {"type": "string"}},
        "mayor": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "place": {"$ref": "#/$defs/place"},
    },
    "$defs": {
        "place": {
            "type": "object",
            "properties": {
                "height": {"type": "number"},
                "grid": {"prefixItems": [{"type": "integer"}], "items": False, "type": "array"},
            },
        }
    },
}
PARIS = (
    '{"name": "Paris, \\"la ville\\"", "people": 2100000, "capital": true, "kind": "tower", '
    '"sights": ["Eiffel", "Louvre"], "mayor": null, "place": {"height": 35.5, "grid": [7]}}'
)


@pytest.mark.parametrize("cuts", [False, True])
def test_a_model_that_knows_its_answer_gives_it(cuts):
    engine = Stub(completing(PARIS), cuts=cuts)
    mode, text, last = answer(engine, CITY)
    assert mode == "filled"
    assert text == PARIS
    assert last.reason == "stop"
    assert last.output_tokens >= len("Paris, la ville")


def leaf(schema, engine, **params):
    return json.loads(answer(engine, schema, **params)[1])


def test_a_choice_follows_the_probabilities():
    engine = Stub(writing("?"), tops=lambda text: {" tr": -3.0, " false": -1.0, ' "x': -0.1})
    assert leaf({"type": "boolean"}, engine, temperature=0.0) is False
    assert engine.asked[0][1]["max_tokens"] == 1
    drawn = {leaf({"type": "boolean"}, engine, seed=seed, temperature=2.0) for seed in range(30)}
    assert drawn == {True, False}


def test_a_choice_takes_one_token_at_each_parting():
    def tops(text):
        return {"tow": -0.1, "c": -2.0} if text.endswith('"') else {"er": -0.2, "n": -1.0}

    engine = Stub(writing("?"), tops=tops)
    assert leaf({"enum": ["town", "tower", "city"]}, engine, temperature=0.0) == "tower"
    assert len(engine.asked) == 2


@pytest.mark.parametrize(
    ("values", "top", "chosen"),
    [
        ([1, 10, 100], {" 1": -0.1}, 1),
        (["a", "ab"], {"b": -0.1}, "ab"),
        ([True, None], {" True": -0.1}, True),
        (["Yes", "No"], {"no": -0.1, "maybe": -0.05}, "No"),
    ],
)
def test_choices_that_are_much_alike(values, top, chosen):
    def tops(text):
        return top if not text.endswith("1") else {"}": -0.1, "x": -5.0}

    engine = Stub(writing("?"), tops=tops)
    assert leaf({"enum": values}, engine, temperature=0.0) == chosen


def test_without_probabilities_the_nearest_value_is_taken():
    values = {"enum": ["red", "green", "blue"]}
    assert leaf(values, Stub(writing("Greenish", '"'))) == "green"
    assert leaf(values, Stub(writing())) in values["enum"]
    assert leaf({"type": "boolean"}, Stub(writing(" True,"))) is True


def test_the_choices_are_shown_to_the_model_before_its_answer():
    engine = Stub(writing("?"), tops=lambda text: {" true": -0.1})
    leaf({"type": "object", "properties": {"a": {"type": "boolean"}}}, engine)
    assert engine.asked[0][0] == '{"a": true}\n{"a": false}\n{"a":'


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("a\nb\t\x01", "a\nb\t\x01"),
        ("C:\\dir\\x", "C:\\dir\\x"),
        ("it\\'s", "it's"),
        ("\\ud83d\\ude00 \\ud83d!", "\U0001f600 \ufffd!"),
        ("\\u00e9 \\u12", "\u00e9 \ufffd"),
        ("\u2028\U0001f600", "\u2028\U0001f600"),
    ],
)
def test_a_string_is_what_the_model_wrote(written, value):
    assert leaf({"type": "string"}, Stub(writing(*written))) == value
    assert leaf({"type": "string"}, Stub(writing(written))) == value


@pytest.mark.parametrize(
    ("schema", "written", "value"),
    [
        ({"type": "number"}, " -1.50e2,", -150.0),
        ({"type": "integer"}, ' "42"', 42),
        ({"type": "integer"}, " about 7 people", 7),
        ({"type": "integer", "maximum": 5}, " 9}", 5),
        ({"type": "integer", "multipleOf": 4}, "10,", 8),
        ({"type": "number", "minimum": 0.5}, " none", 0.5),
        ({"type": "number"}, " 1e999]", 1.0),
    ],
)
def test_a_number_is_what_the_model_wrote_or_near_it(schema, written, value):
    assert leaf(schema, Stub(writing(*written))) == value


def test_a_number_takes_the_likeliest_digit_of_a_model_that_writes_words():
    def write(text):
        return "5," if text.endswith(" 7") else "many"

    engine = Stub(write, tops=lambda text: {" many": -0.1, " 7": -3.0})
    assert leaf({"type": "integer"}, engine, temperature=0.0) == 75


def test_a_string_that_is_too_short_is_lengthened():
    assert leaf({"type": "string", "minLength": 9}, Stub(writing("ab", '"'))) == "ab ab ab."


def test_an_array_ends_where_the_model_ends_it():
    schema = {"type": "array", "items": {"type": "string"}}
    assert leaf(schema, Stub(completing('["a", "b"]'))) == ["a", "b"]
    assert leaf(schema, Stub(completing("[]"))) == []
    assert leaf({**schema, "minItems": 3, "maxItems": 4}, Stub(completing('["a"]'))) == [
        "a",
        "",
        "",
    ]


def test_an_array_without_a_limit_ends_somewhere():
    schema = {"type": "array", "items": {"const": 1}}
    assert leaf(schema, Stub(writing(","))) == [1] * 64


def test_unique_items_are_unique():
    schema = {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True}
    engine = Stub(writing(","), tops=lambda text: {"a": -0.1, "b": -0.2, ",": -0.3, '"': -0.4})
    assert leaf(schema, engine, temperature=0.0) == ["a", "b", "c"]


def test_the_tag_decides_which_object_it_is():
    def variant(name, properties):
        return {"type": "object", "properties": {"kind": {"const": name}, **properties}}

    schema = {
        "anyOf": [
            variant("circle", {"radius": {"type": "integer"}}),
            variant("square", {"side": {"type": "integer"}}),
        ]
    }
    written = '{"kind": "square", "side": 4}'
    assert leaf(schema, Stub(completing(written))) == json.loads(written)


def test_when_the_tokens_run_out_the_rest_is_the_least():
    engine = Stub(completing(PARIS))
    _, text, last = answer(engine, CITY, limit=30)
    value = json.loads(text)
    assert last.reason == "length"
    assert value["name"].startswith("Paris, ")
    assert value["people"] == 0
    assert value["sights"] == []
    assert Draft202012Validator(CITY).is_valid(value)
    assert answer(engine, CITY, limit=0)[2].reason == "length"


def test_a_special_token_in_a_name_is_only_text(monkeypatch):
    engine = Stub(writing('"'))
    kinds = []
    encode = engine.prompter.encode
    monkeypatch.setattr(
        engine.prompter, "encode", lambda text, special=True: kinds.append(special) or encode(text)
    )
    leaf({"type": "object", "properties": {"<|im_end|>": {"type": "string"}}}, engine)
    assert not any(kinds)


def test_a_token_is_not_torn_by_what_choices_share():
    class Prompter:
        """Tokens are words, quotes, and what is between them."""

        def __init__(self):
            self.words = []

        def encode(self, text, special=True):
            self.words += (found := re.findall(r' ?"|\w+|\W', text))
            first = len(self.words) - len(found)
            return list(range(first, len(self.words)))

        def decode(self, ids):
            return "".join(self.words[i] for i in ids)

    engine = Stub(writing("?"))
    engine.prompter = Prompter()
    asking = Asking(engine, [], {}, 100)
    assert asking.token_ends('"ab"') == {1, 3, 4}
    assert _parting(asking, ['"a"', '"ab"']) == 1
    assert _parting(asking, ['"a b"', '"a c"']) == 3
    assert _parting(asking, ["true", "false"]) == 0


def test_a_model_that_writes_words_is_given_a_space_before_its_number():
    engine = Stub(lambda text: "31," if text.endswith(" ") else '"many"')
    assert leaf({"type": "array", "items": {"type": "integer"}, "maxItems": 1}, engine) == [31]
