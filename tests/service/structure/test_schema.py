"""Which values of `format` are taken."""

import pytest

from hyperllama_nb.errors import InvalidOptionError
from hyperllama_nb.service import structure

OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}}


def nested(levels):
    schema = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def doubling(levels):
    """Return a schema that applies 2 ** levels subschemas to one place."""
    defs = {"d0": {"type": "string"}}
    for i in range(levels):
        defs[f"d{i + 1}"] = {"allOf": [{"$ref": f"#/$defs/d{i}"}] * 2}
    return {"$ref": f"#/$defs/d{levels}", "$defs": defs}


def test_the_values_that_ollama_takes():
    assert structure.read(None) is None
    assert structure.read("") is None
    assert structure.read("json") == "json"
    assert structure.read(OBJECT) is OBJECT
    assert structure.read({}) == {}


@pytest.mark.parametrize("value", ["xml", 1, True, [], ["json"], 1.5])
def test_anything_else_is_refused_in_ollamas_words(value):
    with pytest.raises(InvalidOptionError) as error:
        structure.read(value)
    assert str(error.value).startswith("invalid format: ")
    assert str(error.value).endswith('; expected "json" or a valid JSON Schema object')
    if value == "xml":
        assert str(error.value).startswith('invalid format: "\\"xml\\""; ')


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "text"}, "'text' is not valid"),
        ({"type": "object", "properties": []}, "at properties"),
        ({"type": "string", "minLength": -1}, "at minLength"),
        ({"$ref": "https://example.com/a.json"}, "refers to elsewhere"),
        ({"properties": {"a": {"$ref": "#/$defs/no"}}}, "refers to nothing"),
        ({"$ref": "#/type", "type": "object"}, "refers to no schema"),
        ({"$ref": "#name"}, "refers to no schema"),
        ({"$ref": "#"}, "leads back to itself"),
        ({"allOf": [{"anyOf": [{"$ref": "#"}]}]}, "leads back to itself"),
        ({"patternProperties": {"a+": {}}}, "`patternProperties` is not followed"),
        ({"items": {"$dynamicRef": "#x"}}, "`$dynamicRef` is not followed"),
        ({"type": "string", "pattern": "(a"}, "cannot be read"),
        ({"enum": ["x" * 200_000]}, "bytes"),
        (nested(70), "levels deep"),
        (doubling(25), "subschemas apply to one place"),
        ({"const": "\ud800"}, "cannot be written as JSON"),
    ],
)
def test_a_bad_schema_is_refused(schema, words):
    with pytest.raises(InvalidOptionError, match=r"^invalid format: ") as error:
        structure.read(schema)
    assert words in str(error.value)


def test_a_schema_may_contain_itself_further_down():
    tree = {"type": "object", "properties": {"more": {"type": "array", "items": {"$ref": "#"}}}}
    assert structure.read(tree) is tree
    assert structure.plan(tree, frozenset()) == "validated"


def multiplying(levels):
    """Return a schema whose smallest value has 10 ** levels strings."""
    defs = {"d0": {"type": "string"}}
    for i in range(levels):
        items = {"$ref": f"#/$defs/d{i}"}
        defs[f"d{i + 1}"] = {"type": "array", "items": items, "minItems": 10}
    return {"$ref": f"#/$defs/d{levels}", "$defs": defs}


FILLED = [
    OBJECT,
    {"type": "array", "items": {"type": "number"}},
    {"type": ["string", "null"]},
    {"properties": {"a": {"enum": [1, "x", None]}}},
    {"$ref": "#/$defs/a", "$defs": {"a": {"const": 3}}},
    {"allOf": [{"type": "boolean"}]},
    {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "items": False},
    {"type": "integer", "multipleOf": 5, "exclusiveMinimum": 4, "maximum": 5},
    {
        "anyOf": [
            {"type": "object", "properties": {"kind": {"const": "a"}, "x": {"type": "string"}}},
            {"type": "object", "properties": {"kind": {"const": "b"}}},
        ]
    },
]
VALIDATED = [
    "json",
    {},
    {"type": "object"},
    {"type": "object", "additionalProperties": {"type": "string"}},
    {"type": "object", "properties": {}, "required": ["a"], "additionalProperties": False},
    {"type": "string", "pattern": "^a+$"},
    {"type": "array"},
    {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    {"type": "array", "items": {"type": "string"}, "contains": {"const": "a"}},
    {"type": "number", "multipleOf": 0.01},
    {"type": "integer", "minimum": 1.1, "maximum": 1.9},
    {"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 6},
    {"type": "string", "minLength": 3, "maxLength": 2},
    {"type": "string", "minLength": 10**9},
    {"enum": [1, 2], "type": "string"},
    {"not": {"type": "string"}},
    {"anyOf": [{"type": "string"}, {"enum": ["a"]}]},
    {"oneOf": [OBJECT, OBJECT]},
    {"type": "object", "properties": {"a": {"type": "string"}}, "minProperties": 2},
    {"allOf": [OBJECT, {"required": ["b"]}]},
    {"enum": list(range(2000))},
    {"const": 1, "enum": [2]},
    multiplying(12),
]


@pytest.mark.parametrize("schema", FILLED)
def test_what_the_service_can_write(schema):
    assert structure.plan(structure.read(schema), frozenset()) == "filled"


@pytest.mark.parametrize("schema", VALIDATED)
def test_what_only_a_check_can_follow(schema):
    assert structure.plan(structure.read(schema), frozenset()) == "validated"


def test_an_engine_that_can_constrain_does_where_a_grammar_says_it_all():
    able = frozenset({"constrain"})
    assert structure.plan(OBJECT, able) == structure.plan("json", able) == "constrained"
    assert structure.plan({"type": "integer", "minimum": 1}, able) == "constrained"
    assert structure.plan({"type": "number", "minimum": 1}, able) == "filled"
    unlike = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    assert structure.plan(unlike, able) == "validated"


def test_a_backend_is_described_by_how_it_meets_a_format():
    assert structure.modes(frozenset({"constrain"}))["format"] == "constrained"
    assert structure.modes(frozenset())["format_json"] == "validated"
