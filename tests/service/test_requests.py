"""Requests that are malformed, wrong, or not answered yet, on both hosts."""

import pytest

from tests.service.hosting import ANSWER, error_of


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": 1},
        {"stream": "yes"},
        {"raw": 1},
        {"system": []},
        {"truncate": "no"},
        {"context": "x"},
        {"context": [-1]},
    ],
)
def test_a_field_of_the_wrong_type_is_said(client, fields):
    response = client.post("/api/generate", json={"model": "tiny", "prompt": "x", **fields})
    assert response.status_code == 400
    assert "cannot unmarshal" in error_of(response)


@pytest.mark.parametrize(
    "messages",
    ["x", [1], [{"content": "x"}], [{"role": "user", "content": ["x"]}], [{"role": 1}]],
)
def test_a_message_of_the_wrong_shape_is_said(client, messages):
    response = client.post("/api/chat", json={"model": "tiny", "messages": messages})
    assert response.status_code == 400
    assert error_of(response)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"options": {"temperature": "hot"}}, 'option "temperature" must be of type float32'),
        ({"options": {"top_k": []}}, 'option "top_k" must be of type integer'),
        ({"options": {"stop": 1}}, 'option "stop" must be of an array of strings'),
        ({"options": []}, "`options` must be an object"),
        ({"keep_alive": "300"}, 'time: missing unit in duration "300"'),
        ({"keep_alive": True}, "Unsupported type: 'bool'"),
        ({"raw": True, "system": "x"}, "raw mode does not support template, system, or context"),
        ({"raw": True, "context": [1]}, "raw mode does not support template, system, or context"),
        ({"template": "{{ .Prompt }}"}, "A `template` in a request is not accepted"),
    ],
)
def test_a_wrong_value_is_400_and_says_why(client, fields, text):
    response = client.post("/api/generate", json={"model": "tiny", "prompt": "x", **fields})
    assert response.status_code == 400
    assert error_of(response).startswith(text)


@pytest.mark.compat("POST /api/push", "pushing a model", "not supported", "501 in words")
@pytest.mark.compat("POST /api/me", "accounts", "not supported", "501 in words")
@pytest.mark.compat("POST /api/signout", "accounts", "not supported", "501 in words")
@pytest.mark.compat("DELETE /api/user/keys/:key", "accounts", "not supported", "501 in words")
@pytest.mark.compat(
    "POST /api/experimental/web_search", "web search", "not supported", "501 in words"
)
@pytest.mark.compat(
    "POST /api/experimental/web_fetch", "web search", "not supported", "501 in words"
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/push"),
        ("POST", "/api/me"),
        ("POST", "/api/signout"),
        ("DELETE", "/api/user/keys/abc"),
        ("POST", "/api/experimental/web_search"),
        ("POST", "/api/experimental/web_fetch"),
    ],
)
def test_a_route_that_is_known_and_not_answered_is_501(client, method, path):
    response = client.request(method, path, json={"model": "tiny"})
    assert response.status_code == 501
    assert f"{method} {path} is not supported" in error_of(response)
    assert response.json()["code"] == "not_supported"


def test_fields_that_ask_for_nothing_pass(service):
    nothing = {"format": "", "think": False, "images": [], "suffix": "", "context": []}
    assert service.generate(**nothing).json()["response"] == ANSWER
    messages = [{"role": "user", "content": "x", "tool_calls": [], "images": None}]
    status, lines = service.lines("/api/chat", model="tiny", messages=messages, tools=[])
    assert status == 200
    assert lines[-1]["done"]


def test_a_header_that_is_too_large_is_400(client):
    assert client.get("/api/version", headers={"X-Large": "x" * 15_000}).status_code == 200
    assert client.get("/api/version", headers={"X-Large": "x" * 20_000}).status_code == 400
