"""`format` and demanded tool calls, through the service."""

import functools
import json

import pytest

from hyperllama_nb.engines.base import LaunchSpec
from hyperllama_nb.service.ask import Ask
from hyperllama_nb.service.routes import generation
from hyperllama_nb.testing import FakeBackend, Script, install_tiny
from tests.service.hosting import hosting, until
from tests.service.test_features import SMART, TOOL, USER

CITY = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "capital": {"type": "boolean"},
        "people": {"type": "integer", "minimum": 1},
    },
    "required": ["name", "capital", "people"],
}
FORMAT = "format: a JSON schema"


@pytest.fixture(scope="module")
def filling():
    with hosting("thread", [Script(pieces=["Be", 'rn", ', "x"])]) as running:
        install_tiny(running.store, "smart", template=SMART)
        yield running


@pytest.fixture(scope="module")
def writing():
    with hosting("thread", [Script(pieces=['"a"', ": 1", "}", " and", " more"])]) as running:
        yield running


def rest(service, **fields):
    return service.generate(**fields).json()


@pytest.mark.compat(
    "POST /api/generate", FORMAT, "same", "always valid JSON; how it was met is in `hyperllama`"
)
def test_a_schema_is_filled_in(filling):
    whole = rest(filling, format=CITY)
    value = json.loads(whole["response"])
    assert (value["name"], type(value["capital"]), value["people"]) == ("Bern", bool, 1)
    assert whole["hyperllama"]["structure"] == "filled"
    assert whole["done_reason"] == "stop"
    assert whole["eval_count"] > 2


@pytest.mark.compat("POST /api/chat", FORMAT, "same", "always valid JSON")
def test_a_filled_answer_streams(filling):
    _, lines = filling.lines("/api/chat", model="tiny", messages=USER, format=CITY)
    pieces = [line["message"]["content"] for line in lines]
    assert json.loads("".join(pieces))["name"] == "Bern"
    assert len([piece for piece in pieces if piece]) > 4
    assert lines[-1]["hyperllama"]["structure"] == "filled"


def test_the_options_hold_for_the_leaves(filling):
    options = {"temperature": 0.3, "seed": 9, "top_k": 5, "stop": ["e"]}
    whole = rest(filling, format=CITY, options=options)
    asked = [request["params"] for request in filling.requests()]
    [name] = [params for params in asked if params["seed"] == 9]
    assert (name["temperature"], name["top_k"], name["stop"]) == (0.3, 5, ['"'])
    assert json.loads(whole["response"])["name"] == "Bern"
    assert whole["hyperllama"]["ignored_options"] == ["stop"]


@pytest.mark.compat(
    "POST /api/generate",
    "format: an answer that is cut short",
    "better",
    "it is closed, where Ollama's is half an object",
)
def test_an_answer_that_is_cut_short_is_closed(filling, writing):
    whole = rest(filling, format=CITY, options={"num_predict": 12})
    assert json.loads(whole["response"]).keys() == CITY["properties"].keys()
    assert whole["done_reason"] == "length"
    whole = rest(writing, format="json", options={"num_predict": 3})
    assert (json.loads(whole["response"]), whole["done_reason"]) == ({"a": 1}, "length")


@pytest.mark.compat("POST /api/generate", 'format: "json"', "same", "never invalid JSON")
def test_json_mode_ends_with_its_object(writing):
    whole = rest(writing, format="json")
    assert whole["response"] == '{"a": 1}'
    assert whole["hyperllama"]["structure"] == "validated"


@pytest.mark.compat(
    "POST /api/generate",
    "format: a schema that nobody meets",
    "better",
    "an error in words after a few tries",
)
def test_no_answer_that_follows_is_an_error(writing):
    schema = {"type": "object", "additionalProperties": {"type": "string"}}
    response = writing.generate(format=schema)
    assert response.status_code == 500
    assert response.json()["error"].startswith('None of 4 answers of "tiny:latest"')
    assert len(writing.requests()) >= 4


@pytest.mark.compat(
    "POST /api/generate", "format: neither json nor a schema", "better", "400, Ollama says 500"
)
@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_a_bad_format_is_400(client, path):
    for value in ("xml", 1, {"type": "text"}, {"$ref": "https://example.com"}):
        body = {"model": "tiny", "prompt": "x", "messages": USER, "format": value}
        response = client.post(path, json=body)
        assert response.status_code == 400
        assert response.json()["error"].startswith("invalid format: ")
    assert client.post(path, json={**body, "format": "", "stream": False}).status_code == 200


def test_an_engine_that_can_constrain_is_told(monkeypatch):
    script = Script(pieces=['{"name": "Bern", ', '"capital": true, "people": 2}'])
    told = []

    class Able(FakeBackend):
        """Constrains, though its engine has no field for the schema."""

        def params(self, spec, sampling):
            told.append(sampling.get("schema"))
            return super().params(spec, sampling)

        def capabilities(self, spec: LaunchSpec):
            return super().capabilities(spec) | {"constrain"}

    monkeypatch.setattr("tests.service.hosting.FakeBackend", Able)
    with hosting("thread", [script]) as service:
        whole = rest(service, format=CITY)
        assert whole["hyperllama"]["structure"] == "constrained"
        assert told[-1] == CITY
        shown = service.client.post("/api/show", json={"model": "tiny"}).json()
        assert shown["hyperllama"]["backends"]["fake"]["format"] == "constrained"


def test_show_tells_how_a_format_is_met(filling):
    shown = filling.client.post("/api/show", json={"model": "tiny"}).json()
    ways = shown["hyperllama"]["backends"]["fake"]
    assert ways["format"] == "filled"
    assert ways["format_json"] == "validated"


@pytest.mark.compat("POST /api/chat", "format: a model thinks first", "same")
def test_a_model_thinks_before_it_answers_in_a_form():
    with hosting("thread", [Script(pieces=["Well", '"', "</think>"])]) as service:
        install_tiny(service.store, "smart", template=SMART)
        schema = {"type": "object", "properties": {"name": {"type": "string"}}}
        _, lines = service.lines("/api/chat", model="smart", messages=USER, format=schema)
        thought = "".join(line["message"].get("thinking", "") for line in lines)
        answer = "".join(line["message"]["content"] for line in lines)
        assert thought == 'Well"'
        assert json.loads(answer) == {"name": "Well"}


def test_leaving_ends_the_request_of_a_leaf():
    with hosting("thread", [Script(pieces=["x"], repeat=10**6, delay=0.01)]) as service:
        schema = {"type": "object", "properties": {"text": {"type": "string"}}}
        body = {"model": "tiny", "prompt": "x", "format": schema}
        with service.client.stream("POST", "/api/generate", json=body) as response:
            lines = response.iter_lines()
            for _ in range(5):
                next(lines)
        until(lambda: service.requests()[-1]["cancelled_at"] is not None)
        until(lambda: not service.engine()["running"])


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("choice", ["required", "weather"])
def test_a_demanded_call_is_always_one(filling, monkeypatch, choice, stream):
    monkeypatch.setattr(generation, "Ask", functools.partial(Ask, tool_choice=choice))
    _, lines = filling.lines(
        "/api/chat", model="smart", messages=USER, tools=[TOOL], think=False, stream=stream
    )
    [call] = [call for line in lines for call in line["message"].get("tool_calls", ())]
    assert call["function"]["name"] == "weather"
    assert call["function"]["arguments"] == {"city": "Bern"}
    assert "".join(line["message"]["content"] for line in lines) == ""
    assert lines[-1]["done_reason"] == "stop"
    assert lines[-1]["hyperllama"]["structure"] == "filled"
    asked = bytes(i - 3 for i in filling.requests("smart:latest")[-1]["prompt"] if i > 2)
    assert asked  # the ids are of bytes in the tokenizer's own order


def test_of_several_tools_the_model_chooses_one(filling, monkeypatch):
    monkeypatch.setattr(generation, "Ask", functools.partial(Ask, tool_choice="required"))
    nothing = {"type": "function", "function": {"name": "Bern", "parameters": {}}}
    _, lines = filling.lines(
        "/api/chat", model="smart", messages=USER, tools=[TOOL, nothing], think=False
    )
    [call] = [call for line in lines for call in line["message"].get("tool_calls", ())]
    assert (call["function"]["name"], call["function"]["arguments"]) == ("Bern", {})


def test_a_tool_that_is_not_there_cannot_be_demanded(filling, monkeypatch):
    monkeypatch.setattr(generation, "Ask", functools.partial(Ask, tool_choice="news"))
    body = {"model": "smart", "messages": USER, "tools": [TOOL], "stream": False}
    response = filling.client.post("/api/chat", json=body)
    assert response.status_code == 400
    assert "not among the request's tools (weather)" in response.json()["error"]


def test_a_call_without_room_is_an_error_in_words(writing, monkeypatch):
    monkeypatch.setattr(generation, "Ask", functools.partial(Ask, tool_choice="required"))
    install_tiny(writing.store, "smart", template=SMART)
    open_tool = {"function": {"name": "any", "parameters": {"additionalProperties": True}}}
    body = {"model": "smart", "messages": USER, "think": False, "stream": False}
    body |= {"tools": [{"type": "function", **open_tool}], "options": {"num_predict": 3}}
    response = writing.client.post("/api/chat", json=body)
    assert response.status_code == 500
    assert "its tokens ran out" in response.json()["error"]
