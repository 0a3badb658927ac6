"""The routes of models, and the private ones, on both hosts."""

import json
import re
import socket
from datetime import datetime

import httpx
import pytest

from hyperllama_nb.testing import install_tiny, tiny_model
from tests.service.hosting import ANSWER, error_of, until

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
