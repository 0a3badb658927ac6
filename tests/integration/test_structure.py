"""Answers in a form that was asked for, by real engines: one that can be held to it, one not."""

import json
import time
from collections.abc import Iterator
from typing import Any

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
MODES = {"max": "filled", "llamacpp": "constrained"}
TRIES = 10


@pytest.fixture(scope="module", params=MODES)
def backend(request: pytest.FixtureRequest, client: Client) -> Iterator[str]:
    """Return the name of a backend; what comes after this file gets the default one again."""
    yield request.param
    client.unload(MODEL)


def ask(client: Client, backend: str, form: Any, seed: int, **options: Any) -> Any:
    options = {"backend": backend, "temperature": 0.8, "seed": seed, **options}
    return client.chat(MODEL, [{"role": "user", "content": QUESTION}], format=form, options=options)


def test_ten_of_ten_follow_the_schema(client: Client, backend: str) -> None:
    ask(client, backend, CITY, 0)  # the load
    valid, took, tokens = 0, 0.0, 0
    for seed in range(1, 1 + TRIES):
        started = time.monotonic()
        answer = ask(client, backend, CITY, seed, num_predict=400)
        took += time.monotonic() - started
        tokens += answer.usage.output_tokens
        print(backend, seed, answer.text)
        valid += Draft202012Validator(CITY).is_valid(json.loads(answer.text))
    started = time.monotonic()
    free = ask(client, backend, None, 1, num_predict=100)
    rate = free.usage.output_tokens / (time.monotonic() - started)
    print(
        f"{backend}: {valid} of {TRIES} valid, {took / TRIES:.2f} s and {tokens / TRIES:.0f} "
        f"generated tokens each ({tokens / took:.1f} tokens/s; {rate:.1f} tokens/s without a form)"
    )
    assert valid == TRIES


def test_a_filled_answer_streams_and_says_how_it_came(client: Client, backend: str) -> None:
    options = {"backend": backend, "seed": 1, "temperature": 0.8, "num_predict": 400}
    stream = client.generate(MODEL, QUESTION, format=CITY, options=options, stream=True)
    chunks = list(stream)
    assert len([chunk for chunk in chunks if chunk.response]) > 5
    assert Draft202012Validator(CITY).is_valid(json.loads("".join(c.response for c in chunks)))
    assert chunks[-1].hyperllama["structure"] == MODES[backend]


def test_json_mode_is_never_invalid(client: Client, backend: str) -> None:
    for seed in range(1, 4):
        answer = ask(client, backend, "json", seed, num_predict=120)
        print(backend, seed, repr(answer.text))
        assert isinstance(json.loads(answer.text), dict)


def test_an_answer_that_is_cut_short_is_closed(client: Client, backend: str) -> None:
    answer = ask(client, backend, CITY, 1, num_predict=15)
    print(backend, answer.text)
    assert isinstance(json.loads(answer.text), dict)
