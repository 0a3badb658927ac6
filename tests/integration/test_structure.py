"""Answers in a form or of a length that was asked for, by real engines: each in its own way."""

import json
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft202012Validator

from hyperllama_nb import Client
from tests.integration.kernel import MODEL

CITY = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "people": {"type": "integer"},
        "capital": {"type": "boolean"},
        "size": {"enum": ["village", "town", "city"]},
        "sights": {"type": "array", "items": {"type": "string"}, "maxItems": 4},
    },
    "required": ["name", "people", "capital", "size", "sights"],
    "additionalProperties": False,
}
QUESTION = (
    "Describe Paris as JSON: its name, how many people live there, whether it is a capital, its "
    "size (village, town or city), and its sights."
)
TRIES = 10


class Engine(NamedTuple):
    """A way of running the model, and how its answers come to their form."""

    client: Client
    backend: str
    mode: str
    name: str


@pytest.fixture(scope="module", params=["lean", "serve", "llamacpp"])
def engine(request: pytest.FixtureRequest, client: Client) -> Iterator[Engine]:
    """Return an engine; what comes after this file gets the default one again."""
    if request.param != "serve":
        backend = {"lean": "max"}.get(request.param, request.param)
        yield Engine(client, backend, "constrained", request.param)
        client.unload(MODEL)
        return
    with (
        tempfile.TemporaryDirectory(prefix="hs", dir="/tmp") as directory,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("HYPERLLAMA_RUNTIME_DIR", directory)
        patch.setenv("HYPERLLAMA_MAX_LAUNCH", "serve")
        own = Client()
        yield Engine(own, "max", "filled", request.param)
        own.stop(wait=False)


def ask(engine: Engine, form: Any, seed: int, **options: Any) -> Any:
    options = {"backend": engine.backend, "temperature": 0.8, "seed": seed, **options}
    question = [{"role": "user", "content": QUESTION}]
    return engine.client.chat(MODEL, question, format=form, options=options)


def test_ten_of_ten_follow_the_schema(engine: Engine) -> None:
    ask(engine, CITY, 0)  # the load
    valid, took, tokens = 0, 0.0, 0
    for seed in range(1, 1 + TRIES):
        started = time.monotonic()
        answer = ask(engine, CITY, seed, num_predict=400)
        took += time.monotonic() - started
        tokens += answer.usage.output_tokens
        print(engine.name, seed, answer.text)
        valid += Draft202012Validator(CITY).is_valid(json.loads(answer.text))
    started = time.monotonic()
    free = ask(engine, None, 1, num_predict=100)
    rate = free.usage.output_tokens / (time.monotonic() - started)
    print(
        f"{engine.name}: {valid} of {TRIES} valid, {took / TRIES:.2f} s and {tokens / TRIES:.0f} "
        f"generated tokens each ({tokens / took:.1f} tokens/s; {rate:.1f} tokens/s without a form)"
    )
    assert valid == TRIES


def test_an_answer_in_a_form_streams_and_says_how_it_came(engine: Engine) -> None:
    options = {"backend": engine.backend, "seed": 1, "temperature": 0.8, "num_predict": 400}
    stream = engine.client.generate(MODEL, QUESTION, format=CITY, options=options, stream=True)
    chunks = list(stream)
    assert len([chunk for chunk in chunks if chunk.response]) > 5
    assert Draft202012Validator(CITY).is_valid(json.loads("".join(c.response for c in chunks)))
    assert chunks[-1].hyperllama["structure"] == engine.mode


def test_json_mode_is_never_invalid(engine: Engine) -> None:
    for seed in range(1, 4):
        answer = ask(engine, "json", seed, num_predict=120)
        print(engine.name, seed, repr(answer.text))
        assert isinstance(json.loads(answer.text), dict)


def test_an_answer_that_is_cut_short_is_closed(engine: Engine) -> None:
    answer = ask(engine, CITY, 1, num_predict=15)
    print(engine.name, answer.text)
    assert isinstance(json.loads(answer.text), dict)


def test_an_answer_is_as_long_as_asked_for_where_its_end_does_not_count(engine: Engine) -> None:
    question = "Answer with one word: what is the capital of France?"
    options = {"backend": engine.backend, "temperature": 0, "num_predict": 100}
    usual = engine.client.generate(MODEL, question, options=options)
    made = engine.client.generate(MODEL, question, options={**options, "ignore_eos": True})
    print(engine.name, usual.text, "|", made.text)
    assert usual.done_reason == "stop"
    assert (made.done_reason, made.usage.output_tokens) == ("length", 100)
