"""The native contract of replies: fields, counts, options, and what is refused."""

import json
import re

import pytest

from hyperllama_nb.testing import Script
from tests.service.hosting import ANSWER, error_of, hosting

USER = [{"role": "user", "content": "Hi"}]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
COUNTS = ("prompt_eval_count", "eval_count")
DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


# Replies


@pytest.mark.compat("POST /api/generate", "fields of the lines and of the whole answer", "same")
@pytest.mark.compat("POST /api/chat", "fields of the lines and of the whole answer", "same")
@pytest.mark.compat("POST /api/generate", "metrics: whole numbers, nanoseconds", "same")
@pytest.mark.compat("POST /api/chat", "metrics: whole numbers, nanoseconds", "same")
@pytest.mark.parametrize("route", ["generate", "chat"])
def test_replies_have_ollamas_fields(service, client, route):
    body = {"model": "tiny", "prompt": "Hi", "messages": USER}
    with client.stream("POST", f"/api/{route}", json=body) as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        data = response.read()
    assert b"\n\n" not in data
    lines = [json.loads(line) for line in data.splitlines()]
    whole = client.post(f"/api/{route}", json={**body, "stream": False}).json()
    said = "message" if route == "chat" else "response"
    for line in lines[:-1]:
        assert line.keys() == {"model", "created_at", said, "done"}
        assert line["done"] is False
    for last in (lines[-1], whole):
        last.pop("hyperllama")
        assert last.pop("prompt_eval_cached_count") == 0
        context = {"context"} if route == "generate" else set()
        fields = {"model", "created_at", said, "done", "done_reason", *COUNTS, *DURATIONS}
        assert last.keys() == fields | context
        assert (last["done"], last["done_reason"]) == (True, "stop")
        assert all(type(last[name]) is int and last[name] > 0 for name in (*COUNTS, *DURATIONS))
    for line in (*lines, whole):
        assert TIME.fullmatch(line["created_at"])
        assert line["model"] == "tiny"
    if route == "chat":
        assert all(line["message"].keys() == {"role", "content"} for line in (*lines, whole))
        assert "".join(line["message"]["content"] for line in lines) == ANSWER
        assert whole["message"] == {"role": "assistant", "content": ANSWER}
    else:
        assert "".join(line["response"] for line in lines) == whole["response"] == ANSWER


@pytest.mark.compat("POST /api/generate", "done_reason: stop and length", "same")
def test_the_reason_of_an_end_is_told(service):
    assert service.generate(options={"num_predict": 2}).json()["done_reason"] == "length"
    assert service.generate(options={"stop": "France"}).json()["done_reason"] == "stop"
    assert service.generate().json()["done_reason"] == "stop"


@pytest.mark.compat("POST /api/generate", "raw: no context in the reply", "same")
def test_a_raw_reply_has_no_context(service):
    assert "context" not in service.generate("Hi", raw=True).json()


@pytest.mark.compat("POST /api/generate", "raw with system, template or context", "same", "400")
@pytest.mark.parametrize("field", [{"system": "x"}, {"template": "x"}, {"context": [1]}])
def test_raw_takes_the_prompt_as_it_is(service, field):
    response = service.generate("Hi", raw=True, **field)
    assert response.status_code == 400
    assert error_of(response) == "raw mode does not support template, system, or context"


# Options


@pytest.mark.compat("POST /api/generate", "options: Ollama's defaults, sent explicitly", "same")
def test_the_defaults_are_ollamas(service):
    service.generate()
    params = service.requests()[-1]["params"]
    assert params["temperature"] == 0.8
    assert params["top_k"] == 40
    assert params["top_p"] == 0.9


@pytest.mark.compat("POST /api/generate", "options: null values, unknown names", "same", "ignored")
@pytest.mark.compat(
    "POST /api/generate", "options: a single stop string", "better", "taken, where Ollama says 500"
)
def test_options_that_say_nothing_are_ignored(service):
    options = {
        **dict.fromkeys(("temperature", "stop", "num_ctx", "use_mmap")),
        **dict.fromkeys(("mirostat", "tfs_z", "numa", "system", "num_gpu", "num_thread"), 1),
        "top_k": 20.0,
        "seed": 7.0,
    }
    answer = service.generate(options=options).json()
    assert answer["response"] == ANSWER
    assert answer["hyperllama"]["seed"] == 7
    ignored = answer["hyperllama"]["ignored_options"]
    assert set(ignored) == {"mirostat", "tfs_z", "numa", "system", "num_gpu", "num_thread"}
    assert service.requests()[-1]["params"]["top_k"] == 20
    assert service.generate(options={"stop": " France"}).json()["response"] == "The capital of"


@pytest.mark.compat("POST /api/generate", "top_logprobs outside 0 to 20", "same", "400, at once")
@pytest.mark.compat("POST /api/chat", "top_logprobs outside 0 to 20", "same", "400, at once")
@pytest.mark.parametrize("route", ["generate", "chat"])
@pytest.mark.parametrize("value", [-1, 21])
def test_a_wrong_number_of_alternatives_is_said_before_the_model(client, route, value):
    response = client.post(f"/api/{route}", json={"model": "nope", "top_logprobs": value})
    assert response.status_code == 400
    assert error_of(response) == "top_logprobs must be between 0 and 20"


@pytest.mark.compat(
    "POST /api/generate",
    "format: neither json nor a schema",
    "better",
    "400, where Ollama says 500",
)
@pytest.mark.compat(
    "POST /api/chat", "format: neither json nor a schema", "better", "400, where Ollama says 500"
)
@pytest.mark.parametrize("route", ["generate", "chat"])
@pytest.mark.parametrize("value", ["xml", 1, [], True])
def test_a_wrong_format_is_said(client, route, value):
    body = {"model": "tiny", "prompt": "x", "messages": USER, "format": value}
    response = client.post(f"/api/{route}", json=body)
    assert response.status_code == 400
    assert error_of(response).startswith("invalid format: ")


@pytest.mark.compat("POST /api/chat", "think: neither a boolean nor a level", "same", "400")
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", 'invalid think value: "x" (must be "high", "medium", "low", "max", true, or false)'),
        (1, "think must be a boolean or string"),
    ],
)
def test_a_wrong_think_is_said(client, value, text):
    response = client.post("/api/chat", json={"model": "tiny", "messages": USER, "think": value})
    assert response.status_code == 400
    assert error_of(response).startswith(text)


@pytest.mark.compat("POST /api/chat", "images: not base64", "same", "400 illegal base64 data")
@pytest.mark.parametrize(
    ("image", "place"), [("data:image/png;base64,aGk=", 4), ("a!b=", 1), ("aGk", 3)]
)
def test_images_that_are_not_base64_are_said(client, image, place):
    messages = [{"role": "user", "content": "x", "images": [image]}]
    for route, fields in ("chat", {"messages": messages}), ("generate", {"images": [image]}):
        response = client.post(f"/api/{route}", json={"model": "tiny", "prompt": "x", **fields})
        assert response.status_code == 400
        assert error_of(response).startswith(f"illegal base64 data at input byte {place}")


@pytest.mark.compat("POST /api/chat", "messages without content, tools: [], ids left out", "same")
def test_messages_may_leave_much_out(client):
    call = {"function": {"name": "f", "arguments": {}}}
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "b", "tool_name": "f"},
        {"role": "USER", "content": None},
    ]
    body = {"model": "tiny", "messages": messages, "tools": [], "stream": False}
    assert client.post("/api/chat", json=body).json()["message"]["content"] == ANSWER


@pytest.mark.compat("POST /api/chat", "tool_calls: arguments as a text", "same", "400")
def test_the_arguments_of_a_call_are_an_object(client):
    call = {"function": {"name": "f", "arguments": "{}"}}
    messages = [*USER, {"role": "assistant", "tool_calls": [call]}]
    response = client.post("/api/chat", json={"model": "tiny", "messages": messages})
    assert response.status_code == 400
    assert "cannot unmarshal" in error_of(response)


# Streams


@pytest.mark.compat("POST /api/generate", "an error before the first line", "same", "its status")
@pytest.mark.compat("POST /api/generate", "an error after the first line", "same", "a last line")
def test_an_error_has_a_status_or_is_the_last_line():
    scripts = [Script(error_after=2, pieces=("a", "b", "c"))]
    with hosting("thread", scripts) as service:
        status, lines = service.lines(model="tiny", prompt="x")
        assert status == 200
        assert lines[-1].keys() == {"error", "code"}
        assert not any(line.get("done") for line in lines)
        status, lines = service.lines(model="nope", prompt="x")
        assert (status, len(lines)) == (404, 1)
