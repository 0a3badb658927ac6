"""Answers that are held to a schema are valid by construction."""

import json
from typing import Any

import jsonschema
import numpy as np
import pytest

from hyperllama_nb.engines.max.lean.errors import RefusedError
from hyperllama_nb.engines.max.lean.generation import Generation
from hyperllama_nb.engines.max.lean.grammar import Grammars
from hyperllama_nb.engines.max.lean.request import Request, Sampling
from hyperllama_nb.engines.max.lean.text import Vocabulary
from tests.engines.lean.fake import FakeModel
from tests.engines.lean.test_scheduler import Kept, finish, scheduler

pytest.importorskip("llguidance")

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "kind": {"enum": ["llama", "alpaca"]},
        "tame": {"type": "boolean"},
    },
    "required": ["name", "age", "kind", "tame"],
    "additionalProperties": False,
}
LIST = {"type": "array", "items": {"enum": [1, "two", None]}, "minItems": 2, "maxItems": 4}
EITHER = {
    "anyOf": [
        {
            "type": "object",
            "properties": {"call": {"const": "stop"}},
            "required": ["call"],
            "additionalProperties": False,
        },
        {"type": "integer", "minimum": 10, "maximum": 20},
    ]
}


@pytest.fixture(scope="module")
def grammars(vocabulary: Vocabulary) -> Grammars:
    made = Grammars(vocabulary)
    made.prepare()
    return made


def write(
    vocabulary: Vocabulary, grammars: Grammars, schema: Any, **more: Any
) -> tuple[Kept, Generation, FakeModel]:
    model = FakeModel(vocab=vocabulary.size, slots=1, context=400)
    request = Request(
        **{"prompt": np.array([4, 5, 6]), "sampling": Sampling(temperature=0), **more}
    )
    sink = Kept()
    generation = Generation(request, sink, vocabulary, grammars.make(schema, model.vocab))
    one = scheduler(model)
    one.submit(generation)
    finish(one)
    return sink, generation, model


@pytest.mark.parametrize("schema", [PERSON, LIST, EITHER], ids=["person", "list", "either"])
@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_answers_follow_their_schema(
    vocabulary: Vocabulary, grammars: Grammars, schema: Any, seed: int | None
) -> None:
    heat = Sampling(temperature=0) if seed is None else Sampling(temperature=1.5, seed=seed)
    sink, *_ = write(vocabulary, grammars, schema, sampling=heat)
    assert sink.reason == "stop"
    jsonschema.validate(json.loads(sink.text), schema)


def test_what_the_schema_fixes_costs_no_step(vocabulary: Vocabulary, grammars: Grammars) -> None:
    sink, generation, model = write(vocabulary, grammars, PERSON)
    assert sink.text.startswith('{"name": "')
    assert len(model.steps) < generation.made * 2 / 3
    assert model.steps[0][0][2] > 8  # prompt and opening in one step


def test_log_probabilities_come_for_every_token(vocabulary: Vocabulary, grammars: Grammars) -> None:
    sink, generation, model = write(vocabulary, grammars, LIST, logprobs=1)
    assert len(model.steps) == generation.made == sink.pieces
    jsonschema.validate(json.loads(sink.text), LIST)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_limit_counts_fixed_tokens_too(
    vocabulary: Vocabulary, grammars: Grammars, limit: int
) -> None:
    sink, generation, _ = write(vocabulary, grammars, PERSON, limit=limit)
    assert sink.reason == "length"
    assert generation.made == limit
    assert '{"name": "'.startswith(sink.text)


def test_a_schema_that_fixes_everything_costs_one_step(
    vocabulary: Vocabulary, grammars: Grammars
) -> None:
    sink, _, model = write(vocabulary, grammars, {"const": [1, "two"]})
    assert (sink.text, sink.reason, len(model.steps)) == ('[1, "two"]', "stop", 1)


@pytest.mark.parametrize(
    "schema", [{"type": "foo"}, {"type": "string", "pattern": "(?=x)"}, {"$ref": "#/none"}]
)
def test_a_schema_without_a_grammar_is_refused(grammars: Grammars, schema: Any) -> None:
    with pytest.raises(RefusedError, match="The schema cannot be followed: ") as caught:
        grammars.make(schema, 300)
    assert caught.value.status == 400


def test_more_logits_than_tokens_are_never_chosen(
    vocabulary: Vocabulary, grammars: Grammars
) -> None:
    grammar = grammars.make(LIST, vocabulary.size + 50)
    allowed = grammar.allowed()
    assert allowed.size == vocabulary.size + 50
    assert not allowed[vocabulary.size :].any()
