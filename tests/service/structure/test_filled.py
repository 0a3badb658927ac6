"""The service writes the structure, the model fills the leaves."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from hyperllama_nb.service import structure
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
