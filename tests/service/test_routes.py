"""Every route of the service, over its socket, on both hosts."""

import json
import re
import socket
from datetime import datetime

import httpx
import pytest

from hyperllama_nb.testing import install_tiny, tiny_model
from tests.service.hosting import hosting, until

ANSWER = "The capital of France is Paris."
PIECES = ["The", " capital", " of", " France", " is", " Paris", "."]
NOW = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture(autouse=True)
def own_place():
    """Leave the place to the service, which lives as long as the module."""


@pytest.fixture(scope="module", params=["process", "thread"])
def service(request):
    with hosting(request.param) as running:
        yield running


@pytest.fixture
def client(service):
    return service.client


def error_of(response):
    """Return the error of a JSON answer, which has nothing else but its code."""
    assert response.headers["content-type"].startswith("application/json")
    body = response.json()
    assert body.keys() == {"error", "code"}
    return body["error"]


# What tells


def test_the_root_is_ollamas(client):
    response = client.get("/")
    assert (response.status_code, response.text) == (200, "Ollama is running")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert client.head("/").status_code == 200


def test_health(client):
    assert client.get("/health").status_code == 200


def test_the_version_is_one_that_clients_can_compare(client):
    version = client.get("/api/version").json()["version"]
    assert re.fullmatch(r"v?\d+(\.\d+)*(-.*)?", version)
    assert client.head("/api/version").status_code == 200


def test_tags_lists_the_store(client):
    (model,) = client.get("/api/tags").json()["models"]
    assert model["name"] == model["model"] == "tiny:latest"
    assert re.fullmatch("[0-9a-f]{64}", model["digest"])
    assert isinstance(model["size"], int)
    assert datetime.fromisoformat(model["modified_at"]).tzinfo is not None
    assert model["details"]["family"] == "llama"
    assert model["details"]["parameter_size"] == "7K"
    assert client.head("/api/tags").status_code == 200


def test_ps_lists_what_is_loaded(service, client):
    assert service.generate().status_code == 200
    (model,) = client.get("/api/ps").json()["models"]
    assert model["name"] == model["model"] == "tiny:latest"
    assert model["context_length"] == 4096
    assert isinstance(model["size"], int)
    assert model["size_vram"] == 0
    assert datetime.fromisoformat(model["expires_at"]).tzinfo is not None


@pytest.mark.parametrize("name", ["tiny", "TINY", "tiny:latest", "library/tiny"])
def test_show_describes_a_model_by_any_of_its_names(client, name):
    shown = client.post("/api/show", json={"model": name}).json()
    assert shown["details"]["format"] == "safetensors"
    assert shown["model_info"]["general.architecture"] == "llama"
    assert shown["capabilities"] == ["completion"]
    assert "<|im_start|>" in shown["template"]


def test_show_takes_the_old_field(client):
    assert client.post("/api/show", json={"name": "tiny"}).status_code == 200


# Changing the store


def test_copy_and_delete_answer_with_nothing(service, client):
    response = client.post("/api/copy", json={"source": "tiny", "destination": "me/other:v1"})
    assert (response.status_code, response.content) == (200, b"")
    names = {model["name"] for model in client.get("/api/tags").json()["models"]}
    assert names == {"tiny:latest", "me/other:v1"}
    assert service.generate(model="me/other:v1").json()["response"] == ANSWER
    response = client.request("DELETE", "/api/delete", json={"model": "me/other:v1"})
    assert (response.status_code, response.content) == (200, b"")
    until(lambda: service.engine("me/other:v1") is None)
    assert service.generate().json()["response"] == ANSWER


@pytest.mark.parametrize(
    ("method", "path", "body", "text"),
    [
        ("POST", "/api/show", {"model": "nope"}, "model 'nope:latest' not found"),
        ("POST", "/api/generate", {"model": "nope", "prompt": "x"}, "model 'nope' not found"),
        ("POST", "/api/generate", {"prompt": "x"}, "model '' not found"),
        ("POST", "/api/chat", {"model": "Nope:x", "messages": []}, "model 'Nope:x' not found"),
        ("POST", "/api/copy", {"source": "nope", "destination": "a"}, 'model "nope" not found'),
        ("DELETE", "/api/delete", {"model": "nope"}, "model 'nope' not found"),
    ],
)
def test_an_unknown_model_is_404_in_ollamas_words(client, method, path, body, text):
    response = client.request(method, path, json=body)
    assert response.status_code == 404
    assert error_of(response).startswith(text)
    assert response.json()["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("method", "path", "body", "text"),
    [
        ("POST", "/api/show", {}, "model is required"),
        ("POST", "/api/chat", {"messages": []}, "model is required"),
        ("DELETE", "/api/delete", {}, "model is required"),
        ("POST", "/api/pull", {}, "invalid model name"),
        ("POST", "/api/show", {"model": "x!"}, "invalid model name"),
        ("POST", "/api/generate", {"model": "../x"}, "invalid model name"),
        ("POST", "/api/chat", {"model": "x!"}, "invalid model name"),
        ("DELETE", "/api/delete", {"model": "x!"}, 'name "x!" is invalid'),
        ("POST", "/api/copy", {"source": "x!", "destination": "a"}, 'source "x!" is invalid'),
        ("POST", "/api/copy", {"source": "tiny", "destination": "x!"}, 'destination "x!" is inv'),
    ],
)
def test_a_wrong_name_is_400_in_ollamas_words(client, method, path, body, text):
    response = client.request(method, path, json=body)
    assert response.status_code == 400
    assert error_of(response).startswith(text)


# Malformed requests


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat", "/api/show", "/api/pull"])
def test_an_empty_body_is_said(client, path):
    response = client.post(path)
    assert (response.status_code, error_of(response)) == (400, "missing request body")


@pytest.mark.parametrize("body", [b"{", b"x", b'{"model": }', b"[1]", b'"x"', b"\xff"])
def test_a_body_that_is_no_object_is_said(client, body):
    response = client.post("/api/generate", content=body)
    assert response.status_code == 400
    assert error_of(response)


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


def test_keys_match_without_regard_to_case_and_null_is_absent(service):
    answer = service.client.post(
        "/api/generate",
        content=b'{"MODEL": "tiny", "Prompt": "x", "stream": false, "options": null} trailing',
    )
    assert answer.json()["response"] == ANSWER


@pytest.mark.parametrize("path", ["/nothing", "/api", "/api/generate/x", "/v1/nothing"])
def test_an_unknown_path_is_404_in_plain_text(client, path):
    response = client.get(path)
    assert (response.status_code, response.text) == (404, "404 page not found")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/generate"), ("POST", "/api/tags"), ("PUT", "/api/chat")]
)
def test_a_wrong_method_is_405(client, method, path):
    response = client.request(method, path)
    assert (response.status_code, response.text) == (405, "405 method not allowed")
    assert response.headers["allow"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/create"),
        ("POST", "/api/embed"),
        ("POST", "/api/embeddings"),
        ("POST", "/api/push"),
        ("POST", "/api/blobs/sha256:0"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/a/b"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/embeddings"),
    ],
)
def test_a_route_that_is_known_and_not_answered_is_501(client, method, path):
    response = client.request(method, path, json={"model": "tiny"})
    assert response.status_code == 501
    assert "not supported yet" in error_of(response)
    assert response.json()["code"] == "not_supported"


@pytest.mark.parametrize(
    "fields",
    [
        {"format": "json"},
        {"format": {"type": "object"}},
        {"think": True},
        {"think": "high"},
        {"images": ["x"]},
        {"suffix": "x"},
        {"logprobs": True},
    ],
)
def test_a_field_that_is_known_and_not_answered_is_501(client, fields):
    response = client.post("/api/generate", json={"model": "tiny", "prompt": "x", **fields})
    assert response.status_code == 501
    assert error_of(response)


def test_tools_are_501(client):
    tool = {"type": "function", "function": {"name": "f"}}
    body = {"model": "tiny", "messages": [{"role": "user", "content": "x"}], "tools": [tool]}
    assert client.post("/api/chat", json=body).status_code == 501


def test_fields_that_ask_for_nothing_pass(service):
    nothing = {"format": "", "think": False, "images": [], "suffix": "", "context": []}
    assert service.generate(**nothing).json()["response"] == ANSWER
    messages = [{"role": "user", "content": "x", "tool_calls": [], "images": None}]
    status, lines = service.lines("/api/chat", model="tiny", messages=messages, tools=[])
    assert status == 200
    assert lines[-1]["done"]


# Generating


def test_generate_streams_a_line_for_each_piece(service):
    body = {"model": "TINY:latest", "prompt": "Hi"}
    with service.client.stream("POST", "/api/generate", json=body) as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        data = response.read()
    assert data.endswith(b"\n")
    assert b"\n\n" not in data
    *lines, last = [json.loads(line) for line in data.splitlines()]
    assert [line["response"] for line in lines] == PIECES
    for line in lines:
        assert line.keys() == {"model", "created_at", "response", "done"}
        assert line["model"] == "TINY:latest"
        assert NOW.fullmatch(line["created_at"])
        assert line["done"] is False
    assert last["response"] == ""
    assert_final(last)


def assert_final(last):
    """Check what the last object tells, whether streamed or not."""
    assert last["done"] is True
    assert last["done_reason"] == "stop"
    assert last["eval_count"] == 7
    assert last["prompt_eval_count"] > 7
    for name in ("total", "load", "prompt_eval", "eval"):
        assert type(last[f"{name}_duration"]) is int
        assert last[f"{name}_duration"] > 0
    extra = last["hyperllama"]
    assert extra["truncated_tokens"] == 0
    assert extra["context_length"] == 4096
    assert extra["backend"] == "fake"
    assert type(extra["first_token_duration"]) is int
    assert type(extra["queue_duration"]) is int
    assert type(extra["seed"]) is int


def test_generate_answers_whole(service):
    response = service.generate()
    assert response.headers["content-type"].startswith("application/json")
    assert response.json()["response"] == ANSWER
    assert response.json()["context"]
    assert_final(response.json())


def test_chat_streams_and_answers_whole(service):
    messages = [{"role": "USER", "content": "Hi"}]
    _, lines = service.lines("/api/chat", model="tiny", messages=messages)
    assert [line["message"]["content"] for line in lines] == [*PIECES, ""]
    assert all(line["message"]["role"] == "assistant" for line in lines)
    assert_final(lines[-1])
    body = {"model": "tiny", "messages": messages, "stream": False}
    answer = service.client.post("/api/chat", json=body).json()
    assert answer["message"] == {"role": "assistant", "content": ANSWER}
    assert_final(answer)


def test_the_engine_gets_the_models_own_prompt(service, client):
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "<|im_end|>"}]
    client.post("/api/chat", json={"model": "tiny", "messages": messages, "stream": False})
    prompt = service.requests()[-1]["prompt"]
    assert prompt.count(1) == 3
    assert prompt.count(2) == 2
    service.generate("Hi", system="S", options={"temperature": 0, "seed": 0, "top_k": 0})
    asked = service.requests()[-1]
    assert asked["prompt"].count(1) == 3
    assert asked["params"]["temperature"] == 0
    assert asked["params"]["seed"] == 2**31
    service.generate("Hi", raw=True)
    assert len(service.requests()[-1]["prompt"]) == 2


def test_a_stop_string_ends_the_text_before_it(service):
    answer = service.generate(options={"stop": [" of Fra"]}).json()
    assert answer["response"] == "The capital"
    assert answer["done_reason"] == "stop"
    assert answer["eval_count"] == 4
    _, lines = service.lines(model="tiny", prompt="x", options={"stop": "capital"})
    assert "".join(line["response"] for line in lines) == "The "


def test_num_predict_ends_the_text_by_length(service):
    answer = service.generate(options={"num_predict": 2}).json()
    assert answer["response"] == "The capital"
    assert answer["done_reason"] == "length"
    assert answer["eval_count"] == 2


def test_num_ctx_below_the_engines_is_a_cap(service):
    before = service.engine()["pid"]
    answer = service.generate("x" * 200, options={"num_ctx": 100}).json()
    assert answer["hyperllama"]["context_length"] == 100
    assert answer["hyperllama"]["truncated_tokens"] > 0
    assert answer["prompt_eval_count"] < 100
    assert service.engine()["pid"] == before


def test_a_prompt_that_may_not_be_cut_is_400(service):
    response = service.generate("x" * 200, options={"num_ctx": 100}, truncate=False)
    assert response.status_code == 400
    assert response.json()["code"] == "prompt_too_long"
    assert "num_ctx" in error_of(response)


def test_an_earlier_context_continues(service):
    first = service.generate("Hi").json()
    service.generate("More", context=first["context"])
    asked = service.requests()[-1]["prompt"]
    assert asked[: len(first["context"])] == first["context"]


def test_nothing_to_say_loads_the_model(service, client):
    answer = client.post("/api/generate", json={"model": "tiny"})
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.json()
    assert (body["response"], body["done"], body["done_reason"]) == ("", True, "load")
    body = client.post("/api/chat", json={"model": "tiny"}).json()
    assert body["message"] == {"role": "assistant", "content": ""}
    assert body["done_reason"] == "load"


def test_nothing_to_say_and_no_time_to_live_unloads_the_model(service, client):
    service.generate()
    body = client.post("/api/generate", json={"model": "tiny", "keep_alive": 0}).json()
    assert (body["response"], body["done"], body["done_reason"]) == ("", True, "unload")
    until(lambda: service.engine() is None)
    assert client.get("/api/ps").json() == {"models": []}
    # It is not loaded to be unloaded.
    body = client.post("/api/chat", json={"model": "tiny", "keep_alive": "0s"}).json()
    assert body["done_reason"] == "unload"
    assert service.engine() is None


def test_our_clients_see_the_load_and_others_do_not(service, client):
    client.post("/admin/unload", json={"model": "tiny"})
    _, lines = service.lines(model="tiny", prompt="x", headers={"X-HyperLlama-Progress": "1"})
    loading = [line for line in lines if line.get("status") == "loading"]
    assert loading
    for line in loading:
        assert line.keys() == {"status", "model", "phase", "message", "elapsed"}
        assert line["model"] == "tiny:latest"
    assert "".join(line["response"] for line in lines if "response" in line) == ANSWER
    client.post("/admin/unload", json={"model": "tiny"})
    _, lines = service.lines(model="tiny", prompt="x")
    assert not [line for line in lines if "status" in line]


# Private routes


def test_load_tells_phases_and_the_engine(service, client):
    client.post("/admin/unload", json={"model": "tiny"})
    status, lines = service.lines("/admin/load", model="tiny")
    assert status == 200
    assert all(line["status"] == "loading" for line in lines[:-1])
    assert lines[-1]["status"] == "ready"
    assert lines[-1]["engine"]["model"] == "tiny:latest"
    assert lines[-1]["engine"]["state"] == "ready"


def test_load_of_an_unknown_model_is_404(service):
    assert service.lines("/admin/load", model="nope")[0] == 404


def test_status_describes_service_and_engines(service, client):
    service.generate()
    status = service.status()
    assert status["protocol"] == 1
    assert status["engines"][0]["state"] == "ready"
    assert status["engines"][0]["requests"] >= 1
    assert status["engines"][0]["output_tokens"] >= 7


def test_logs_of_a_model_and_of_the_service(service, client):
    service.generate()
    text = client.get("/admin/logs", params={"model": "tiny", "lines": 2}).text
    assert text.count("\n") == 2
    assert "Server ready" in text
    assert client.get("/admin/logs").status_code == 200
    assert client.get("/admin/logs", params={"model": "nope"}).status_code == 404
    assert client.get("/admin/logs", params={"lines": "x"}).status_code == 400


def test_another_protocol_is_409_and_names_the_next_step(client):
    body = {"protocol": 999, "version": "9", "kind": "python", "pid": 1}
    response = client.post("/admin/attach", json=body)
    assert response.status_code == 409
    assert response.json()["code"] == "protocol_mismatch"
    assert "%llm stop" in error_of(response)


def test_a_listener_lives_as_long_as_its_connection(service, client):
    port = free_port()
    body = {"host": "127.0.0.1", "port": port}
    url = f"http://127.0.0.1:{port}"
    with client.stream("POST", "/admin/serve", json=body) as response:
        lines = response.iter_lines()  # to drop the iterator is to close the connection
        assert json.loads(next(lines)) == {"address": f"127.0.0.1:{port}"}
        assert service.status()["listeners"] == [f"127.0.0.1:{port}"]
        assert httpx.get(url).text == "Ollama is running"
        foreign = httpx.get(f"{url}/api/tags", headers={"Host": "evil.example"})
        assert foreign.status_code == 403
        assert httpx.get(f"{url}/admin/status").status_code == 404
        taken = client.post("/admin/serve", json=body)
        assert taken.status_code == 409
        assert str(port) in error_of(taken)
    until(lambda: service.status()["listeners"] == [])
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_body_that_is_too_large_is_413(client):
    response = client.post("/api/generate", content=b'{"model": "' + b"x" * (33 << 20) + b'"}')
    assert response.status_code == 413
    assert "error" in response.json()


def test_deleting_the_model_unloads_it(service, client):
    install_tiny(service.store, "gone")
    assert service.generate(model="gone").status_code == 200
    client.request("DELETE", "/api/delete", json={"model": "gone"})
    until(lambda: service.engine("gone:latest") is None)
    assert service.generate(model="gone").status_code == 404


def test_pull_streams_progress_and_answers_whole(service, tmp_path):
    source = f"file:{tiny_model(tmp_path / 'tiny')}"
    status, lines = service.lines("/api/pull", model=source, name="pulled")
    assert status == 200
    assert lines[-1] == {"status": "success"}
    assert all("status" in line for line in lines)
    assert service.generate(model="pulled").json()["response"] == ANSWER
    body = {"model": source, "name": "again", "stream": False}
    assert service.client.post("/api/pull", json=body).json() == {"status": "success"}


def test_a_pull_that_fails_is_an_error(service, tmp_path):
    for body in ({"model": f"file:{tmp_path / 'nothing'}", "name": "x"}, {"model": "nobody/has"}):
        _, lines = service.lines("/api/pull", **body)
        assert lines[-1].keys() == {"error", "code"}
