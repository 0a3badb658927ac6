"""The native contract of models: loading, keeping, unloading, and what is told of them."""

import math
import re
from datetime import UTC, datetime

import pytest

from hyperllama_nb.testing import install_tiny
from tests.service.hosting import ANSWER, error_of, hosting, until

USER = [{"role": "user", "content": "Hi"}]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def expires(service, model="tiny:latest"):
    """Return the seconds until the model expires, as /api/ps tells them."""
    models = {m["name"]: m for m in service.client.get("/api/ps").json()["models"]}
    at = datetime.fromisoformat(models[model]["expires_at"])
    return (at - datetime.now(UTC)).total_seconds()


# Keeping


@pytest.mark.compat("POST /api/generate", "keep_alive: every legal form", "same")
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (300, 300),
        (90.5, 90.5),
        ("5m", 300),
        ("1h30m", 5400),
        ("90s", 90),
        ("1.5h", 5400),
        ("100000ms", 100),
        (-1, math.inf),
        ("-1m", math.inf),
        (-0.5, math.inf),
        (1e12, math.inf),
    ],
)
def test_keep_alive_has_many_forms(service, value, seconds):
    service.generate(keep_alive=value)
    if seconds == math.inf:
        assert expires(service) > 200 * 365 * 24 * 3600
    else:
        assert seconds - 60 < expires(service) <= seconds


@pytest.mark.compat("POST /api/generate", "keep_alive: malformed", "same", "400 in Go's words")
@pytest.mark.parametrize("route", ["generate", "chat"])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("300", 'time: missing unit in duration "300"'),
        ("-1", 'time: missing unit in duration "-1"'),
        ("abc", 'time: invalid duration "abc"'),
        ("", 'time: invalid duration ""'),
        ("5 m", "time: unknown unit"),
        (True, "Unsupported type: 'bool'"),
        ([], "Unsupported type: "),
    ],
)
def test_a_malformed_keep_alive_is_said(client, route, value, text):
    body = {"model": "tiny", "prompt": "x", "messages": USER, "keep_alive": value}
    response = client.post(f"/api/{route}", json=body)
    assert response.status_code == 400
    assert error_of(response).startswith(text)


@pytest.mark.compat("POST /api/chat", "keep_alive: a request's value stays with the model", "same")
def test_keep_alive_stays_until_it_is_changed(service, client):
    service.generate(keep_alive="1h")
    assert expires(service) > 3000
    for value in ({}, {"keep_alive": None}):
        body = {"model": "tiny", "messages": USER, "stream": False, **value}
        assert client.post("/api/chat", json=body).status_code == 200
        assert expires(service) > 3000
    client.post("/api/generate", json={"model": "tiny", "keep_alive": "10m"})
    assert 500 < expires(service) <= 600


@pytest.mark.compat("POST /api/generate", "keep_alive: 0 with a prompt", "same")
def test_a_prompt_with_no_time_to_live_is_answered_and_the_model_unloaded(service):
    assert service.generate(keep_alive=0).json()["response"] == ANSWER
    until(lambda: service.engine() is None)
    assert service.client.get("/api/ps").json() == {"models": []}


@pytest.mark.compat("POST /api/generate", "loading with nothing to say", "same")
@pytest.mark.compat("POST /api/chat", "loading with nothing to say", "same")
@pytest.mark.compat("POST /api/generate", "unloading with keep_alive 0", "same", "loads nothing")
@pytest.mark.compat("POST /api/chat", "unloading with keep_alive 0", "same", "loads nothing")
@pytest.mark.parametrize(
    ("route", "fields", "said"),
    [
        ("generate", {}, {"response": ""}),
        ("generate", {"prompt": "", "system": "x", "stream": True}, {"response": ""}),
        ("chat", {}, {"message": {"role": "assistant", "content": ""}}),
        ("chat", {"messages": []}, {"message": {"role": "assistant", "content": ""}}),
    ],
)
def test_nothing_to_say_loads_and_unloads(service, client, route, fields, said):
    client.post("/admin/unload", json={"model": "tiny"})
    for keep, reason in (None, "load"), (0, "unload"), ("0", "unload"), ("0s", "unload"):
        body = {"model": "Tiny", **fields, "keep_alive": keep}
        response = client.post(f"/api/{route}", json=body)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("application/json")
        reply = response.json()
        assert TIME.fullmatch(reply.pop("created_at"))
        assert reply == {"model": "Tiny", **said, "done": True, "done_reason": reason}
        if reason == "load":
            assert service.engine() is not None
        else:
            until(lambda: service.engine() is None)


def test_what_a_model_cannot_do_is_said_before_it_is_loaded(service, client):
    client.post("/admin/unload", json={"model": "tiny"})
    for route, fields, text in (
        ("generate", {"think": True}, '"tiny:latest" does not support thinking'),
        ("chat", {"think": "high"}, '"tiny:latest" does not support thinking'),
        ("generate", {"raw": True, "system": "x"}, "raw mode does not support template, system"),
    ):
        response = client.post(f"/api/{route}", json={"model": "tiny", **fields})
        assert response.status_code == 400
        assert error_of(response).startswith(text)
    assert client.post("/api/generate", json={"model": "tiny", "think": False}).status_code == 200


@pytest.mark.compat("POST /api/generate", "a model that makes embeddings", "same", "400")
@pytest.mark.compat("POST /api/chat", "a model that makes embeddings", "same", "400")
def test_a_model_that_cannot_generate_says_so(service, client):
    install_tiny(service.store, "vectors", architecture="BertModel")
    for route in ("generate", "chat"):
        body = {"model": "vectors", "prompt": "x", "messages": USER}
        response = client.post(f"/api/{route}", json=body)
        assert response.status_code == 400
        assert error_of(response).startswith(f'"vectors:latest" does not support {route}')
    service.store.delete("vectors")


@pytest.mark.compat("GET /api/ps", "fields and their types, the longest-lived first", "same")
def test_ps_has_what_clients_read():
    with hosting("thread") as service:
        install_tiny(service.store, "other")
        service.generate(keep_alive="1m")
        service.generate(model="other", keep_alive="1h")
        models = service.client.get("/api/ps").json()["models"]
        shown = service.client.post("/api/show", json={"model": "tiny"}).json()
    assert [model["name"] for model in models] == ["other:latest", "tiny:latest"]
    for model in models:
        assert model.pop("hyperllama")["state"] == "ready"  # ours, beside what is Ollama's
        assert model.keys() == {
            *("name", "model", "size", "digest", "details", "expires_at", "size_vram"),
            "context_length",
        }
        for field in ("size", "size_vram", "context_length"):
            assert type(model[field]) is int
        assert re.fullmatch("[0-9a-f]{64}", model["digest"])
        assert datetime.fromisoformat(model["expires_at"]).tzinfo is not None
        assert model["details"] == shown["details"]


# Show


@pytest.mark.compat("POST /api/show", "fields and their types", "same")
def test_show_has_what_clients_read(client):
    shown = client.post("/api/show", json={"model": "tiny"}).json()
    for field in ("modelfile", "parameters", "template"):
        assert type(shown[field]) is str
    assert datetime.fromisoformat(shown["modified_at"]).tzinfo is not None
    info = shown["model_info"]
    assert info["general.architecture"] == "llama"
    assert type(info["general.parameter_count"]) is int
    first = next(key for key in info if "context_length" in key)
    assert (first, info[first]) == ("llama.context_length", 8192)
    assert info["llama.embedding_length"] == shown["model_info"]["llama.embedding_length"]
    assert shown["capabilities"] == ["completion"]
    assert "license" not in shown or type(shown["license"]) is str


@pytest.mark.compat("POST /api/show", "system and options in the request", "same")
def test_show_takes_system_and_options(service, client):
    body = {"model": "tiny", "system": "S", "options": {"seed": 1, "stop": "x"}}
    shown = client.post("/api/show", json=body).json()
    assert shown["system"] == "S"
    lines = [line.split() for line in shown["parameters"].splitlines()]
    assert lines == [["seed", "1"], ["stop", '"x"']]
    assert 'SYSTEM """S"""' in shown["modelfile"]
    body["options"] = {"seed": "x"}
    assert client.post("/api/show", json=body).status_code == 400
    assert len(list((service.store.root / "views").iterdir())) <= len(service.store.list())


@pytest.mark.compat("POST /api/show", "the basename for GitHub Copilot", "same")
def test_copilot_is_told_the_name_that_it_asked_for(client):
    headers = {"User-Agent": "GitHubCopilotChat/0.1"}
    shown = client.post("/api/show", json={"model": "Tiny:latest"}, headers=headers).json()
    assert shown["model_info"]["general.basename"] == "Tiny:latest"


@pytest.mark.compat("POST /api/copy", "200 with nothing", "same")
@pytest.mark.compat("DELETE /api/delete", "200 with nothing", "same")
def test_copy_and_delete_answer_with_nothing(service, client):
    body = {"source": "TINY", "destination": "Me/Mine:V1"}
    response = client.post("/api/copy", json=body)
    assert (response.status_code, response.content) == (200, b"")
    response = client.request("DELETE", "/api/delete", json={"name": "me/mine:v1"})
    assert (response.status_code, response.content) == (200, b"")
    assert [m["name"] for m in client.get("/api/tags").json()["models"]] == ["tiny:latest"]


@pytest.mark.compat("POST /api/copy", "a name that is none", "same", "400 in Ollama's words")
@pytest.mark.compat("DELETE /api/delete", "a name that is none", "same", "400 in Ollama's words")
@pytest.mark.parametrize(
    ("method", "route", "body", "text"),
    [
        ("POST", "copy", {"source": "x!", "destination": "a"}, 'source "x!" is invalid'),
        ("POST", "copy", {"source": "tiny", "destination": "x!"}, 'destination "x!" is invalid'),
        ("POST", "copy", {"source": "tiny"}, 'destination "" is invalid'),
        ("DELETE", "delete", {"model": "x!"}, 'name "x!" is invalid'),
        ("DELETE", "delete", {}, "model is required"),
    ],
)
def test_a_wrong_name_of_a_copy_is_said(client, method, route, body, text):
    response = client.request(method, f"/api/{route}", json=body)
    assert response.status_code == 400
    assert error_of(response).startswith(text)
