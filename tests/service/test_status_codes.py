"""What goes wrong, by kind: its status and body on Ollama's routes and on OpenAI's."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from hyperllama_nb.testing import Script
from tests.service.hosting import ANSWER, SLOW, open_stream, until
from tests.service.openai_calls import HI

pytestmark = pytest.mark.slow


ROUTES = {
    "/api/generate": {"prompt": "Hi"},
    "/api/chat": {"messages": HI},
    "/v1/chat/completions": {"messages": HI},
    "/v1/completions": {"prompt": "Hi"},
}
"""The generating routes, and what each one needs beside a model."""

every_route = pytest.mark.parametrize("path", ROUTES)


def compat(feature, native, openai, note=""):
    """Prove a row for each family of routes."""

    def mark(test):
        for path in ROUTES:
            level = openai if path.startswith("/v1/") else native
            test = pytest.mark.compat(f"POST {path}", feature, level, note)(test)
        return test

    return mark


def post(service, path, *, stream=False, **fields):
    """Return the response of a route to a good request with these fields changed."""
    body = {"model": "tiny", "stream": stream, **ROUTES[path], **fields}
    return service.client.post(path, json=body)


def refused(response, path, status, code, openai_status=None, openai_code=None):
    """Check an error, which is told in the dialect of its route; return its text."""
    assert response.headers["content-type"].startswith("application/json")
    body = response.json()
    if not path.startswith("/v1/"):
        assert (response.status_code, body.keys()) == (status, {"error", "code"})
        assert body["code"] == code
        return body["error"]
    status = openai_status or status
    assert (response.status_code, body.keys()) == (status, {"error"})
    error = body["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    types = {404: "not_found_error", 429: "rate_limit_error"}
    expected = types.get(status, "invalid_request_error" if status < 500 else "api_error")
    assert (error["type"], error["code"]) == (expected, openai_code or code)
    return error["message"]


def answer_of(response):
    """Return the text of a whole answer, whatever the route."""
    body = response.json()
    if "choices" in body:
        [choice] = body["choices"]
        return choice["text"] if "text" in choice else choice["message"]["content"]
    return body["response"] if "response" in body else body["message"]["content"]


# The request


@every_route
@compat("an unknown model", "same", "same", "404")
def test_an_unknown_model(service, path):
    for stream in (False, True):
        response = post(service, path, model="nope", stream=stream)
        text = refused(response, path, 404, "model_not_found")
        assert text.startswith("model 'nope' not found")


@every_route
@compat("no model", "same", "same")
def test_no_model(service, path):
    response = post(service, path, model=None)
    if path in ("/api/chat", "/v1/chat/completions"):
        assert refused(response, path, 400, "bad_request") == "model is required"
    else:
        assert refused(response, path, 404, "model_not_found").startswith("model '' not found")


@every_route
@compat("a name of a wrong form", "same", "same", "400")
def test_a_wrong_name(service, path):
    response = post(service, path, model="x!")
    assert refused(response, path, 400, "invalid_name").startswith("invalid model name")


@every_route
@compat("a body that is not JSON", "same", "same", "400")
@pytest.mark.parametrize("body", [b"", b"{", b"x", b"[]", b'"x"', b"\xff", b'{"model": tiny}'])
def test_a_body_that_is_no_object(client, path, body):
    refused(client.post(path, content=body), path, 400, "bad_request")


@every_route
@compat("a field of a wrong type", "same", "same", "400")
@pytest.mark.parametrize("fields", [{"model": 1}, {"stream": "x"}, {"stream": 1}])
def test_a_field_of_a_wrong_type(service, path, fields):
    body = {"model": "tiny", **ROUTES[path], **fields}
    response = service.client.post(path, json=body)
    assert "cannot unmarshal" in refused(response, path, 400, "bad_request")


@every_route
@compat("an option of a wrong type", "better", "same", "400; Ollama's own routes say 500")
def test_an_option_of_a_wrong_type(service, path):
    response = post(service, path, options={"temperature": "hot"})
    text = refused(response, path, 400, "invalid_option")
    assert text.startswith('option "temperature" must be of type float32')


@every_route
@compat("a body of null", "same", "same", "counts as {}")
def test_a_body_of_null(client, path):
    response = client.post(path, content=b"null")
    assert response.status_code in (400, 404)
    assert "model" in response.text or "messages" in response.text or "prompt" in response.text


@every_route
@compat("a body that is too large", "better", "better", "413; Ollama has no limit")
def test_a_body_that_is_too_large(client, path):
    response = client.post(path, content=b'{"model": "' + b"x" * (33 << 20) + b'"}')
    assert "larger than 32 MiB" in refused(response, path, 413, "too_large")


@every_route
def test_a_wrong_method(client, path):
    response = client.get(path)
    assert response.status_code == 405
    assert "POST" in response.headers["allow"]
    if path.startswith("/v1/"):
        assert response.json()["error"]["code"] == "method_not_allowed"
    else:
        assert "405 method not allowed" in response.text


@pytest.mark.compat("all /v1 routes", "an unknown path", "better", "404 in the envelope")
def test_an_unknown_path(client):
    response = client.post("/v1/nothing", json={})
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("not_found_error", "not_found")
    assert "/v1/chat/completions" in error["message"]
    assert "404 page not found" in client.post("/api/nothing").text


# The queue


@compat("a full queue", "same", "better", "503 in Ollama's words, or 429, with Retry-After")
def test_a_full_queue(host):
    with host([SLOW], slots=1, env={"OLLAMA_MAX_QUEUE": "1"}) as service:
        with ThreadPoolExecutor(1) as pool, open_stream(service):
            second = pool.submit(service.generate, options={"num_predict": 1})
            until(lambda: service.told("queued") == 1)
            for path in ROUTES:
                for stream in (False, True):
                    response = post(service, path, stream=stream)
                    text = refused(response, path, 503, "busy", 429, "rate_limit_exceeded")
                    assert text == (
                        "server busy, please try again.  maximum pending requests exceeded"
                    )
                    assert response.headers["retry-after"] == "1"
        assert second.result().json()["response"] == "x"


@every_route
def test_an_engine_whose_own_queue_is_full(thread, path):
    with thread([Script(status=429)]) as service:
        refused(post(service, path), path, 503, "busy", 429, "rate_limit_exceeded")


# The load


@every_route
@compat("a model that loads", "same", "same", "the request is held")
def test_a_request_is_held_while_its_model_loads(thread, path):
    with thread([Script(startup=0.5)]) as service:
        assert answer_of(post(service, path)) == ANSWER


@every_route
@compat("a load that takes too long", "better", "better", "503 with Retry-After; Ollama says 500")
def test_a_load_that_takes_too_long(thread, path):
    with thread([Script(startup=60)], env={"OLLAMA_LOAD_TIMEOUT": "300ms"}) as service:
        response = post(service, path, stream=True)
        assert "OLLAMA_LOAD_TIMEOUT" in refused(response, path, 503, "load_timeout")
        assert int(response.headers["retry-after"]) > 0


@every_route
@compat("a load that fails", "better", "better", "500 with the engine's last words")
def test_a_load_that_fails(thread, path):
    with thread([Script(crash=3, log=["ERROR: no such weights"]), Script()]) as service:
        response = post(service, path, stream=True)
        assert "no such weights" in refused(response, path, 500, "engine_start")
        assert answer_of(post(service, path)) == ANSWER


# The engine


def parts_of(service, path):
    """Return the status, the parts of a stream, and its last part."""
    body = {"model": "tiny", "stream": True, **ROUTES[path]}
    with service.client.stream("POST", path, json=body) as response:
        data = response.read()
    lines = [line.removeprefix(b"data: ") for line in data.split(b"\n") if line]
    *parts, last = [json.loads(line) for line in lines]
    return response.status_code, parts, last


def text_in(part):
    if "choices" in part:
        [choice] = part["choices"]
        return choice["text"] if "text" in choice else choice["delta"].get("content", "")
    return part["response"] if "response" in part else part["message"]["content"]


def ends_with(service, path, code, texts):
    """Check that a stream of these texts ends with an error, and with nothing behind it."""
    status, parts, last = parts_of(service, path)
    assert status == 200
    assert [text_in(part) for part in parts] == texts
    assert not any(part.get("done") for part in parts)
    if path.startswith("/v1/"):
        assert last.keys() == {"error"}
        assert (last["error"]["type"], last["error"]["code"]) == ("api_error", code)
        return last["error"]["message"]
    assert last.keys() == {"error", "code"}
    assert last["code"] == code
    return last["error"]


@every_route
@compat(
    "an engine that dies in the middle", "same", "better", "the last part is the error, no [DONE]"
)
def test_an_engine_that_dies_in_the_middle(host, path):
    with host([Script(die_after=3), Script()]) as service:
        text = ends_with(service, path, "engine_died", ["The", " capital", " of"])
        assert "ended while it was answering" in text
        assert answer_of(post(service, path)) == ANSWER


@every_route
def test_a_whole_answer_of_an_engine_that_dies_is_a_status(thread, path):
    with thread([Script(die_after=3), Script()]) as service:
        refused(post(service, path), path, 500, "engine_died")


@every_route
@compat("an engine that dies before the first token", "same", "same", "500, and it is started anew")
def test_an_engine_that_dies_before_the_first_token(thread, path):
    with thread([Script(die_after=0), Script()]) as service:
        refused(post(service, path, stream=True), path, 500, "engine_died")
        assert answer_of(post(service, path)) == ANSWER


@every_route
def test_an_error_of_the_engine_in_the_middle(thread, path):
    with thread([Script(error_after=2, error="boom")]) as service:
        assert "boom" in ends_with(service, path, "engine", ["The", " capital"])


@every_route
def test_what_the_engine_refuses(thread, path):
    with thread([Script(status=400, error="no")]) as service:
        assert "no" in refused(post(service, path), path, 400, "bad_request")


# Time


@every_route
@compat("a deadline", "better", "better", "504, or an error in the stream; Ollama has none")
def test_a_deadline(thread, path):
    env = {"HYPERLLAMA_REQUEST_TIMEOUT": "1500ms"}
    with thread([Script(stall_after=0)], env=env) as service:
        for stream in (False, True):
            response = post(service, path, stream=stream)
            assert "after 1.5 s" in refused(response, path, 504, "deadline")
        until(lambda: service.told("running") == 0)


@every_route
def test_a_deadline_in_the_middle(thread, path):
    env = {"HYPERLLAMA_REQUEST_TIMEOUT": "1500ms"}
    with thread([Script(stall_after=2)], env=env) as service:
        ends_with(service, path, "deadline", ["The", " capital"])
        until(lambda: [r["cancelled_at"] for r in service.requests()] == [2])


def test_what_ends_in_time_has_no_deadline(thread):
    with thread(env={"HYPERLLAMA_REQUEST_TIMEOUT": "1m"}) as service:
        for path in ROUTES:
            assert answer_of(post(service, path)) == ANSWER


# Clients


@every_route
@pytest.mark.parametrize("stream", [False, True])
@compat("a client that goes", "same", "same", "frees its slot in the engine")
def test_a_client_that_goes_frees_its_slot(thread, path, stream, caplog):
    with thread([SLOW], slots=1) as service, caplog.at_level(logging.ERROR):
        service.lines("/admin/load", model="tiny")
        body = {"model": "tiny", "stream": stream, **ROUTES[path]}
        if stream:
            with service.client.stream("POST", path, json=body) as response:
                next(response.iter_bytes())
        else:
            with pytest.raises(httpx.ReadTimeout):
                service.client.post(path, json=body, timeout=0.3)
        until(lambda: [r["cancelled_at"] is not None for r in service.requests()] == [True])
        assert service.engine()["running"] == 0
    assert not caplog.records
