"""The native contract of all routes: bodies, errors, names, verbs and paths."""

import re
from datetime import datetime

import pytest

from hyperllama_nb.testing import install_tiny
from tests.service.hosting import ANSWER, error_of, hosting

ALL = "all native routes"
POSTS = ["generate", "chat", "show", "pull", "create", "copy", "tokenize", "detokenize"]


# Paths and verbs


@pytest.mark.compat("GET /", "the heartbeat: body and type", "same")
@pytest.mark.parametrize("path", ["/", ""])
def test_the_heartbeat_is_ollamas(client, path):
    response = client.get(path)
    assert (response.status_code, response.text) == (200, "Ollama is running")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.compat("GET /", "HEAD", "same")
@pytest.mark.compat("GET /api/version", "HEAD", "same")
@pytest.mark.compat("GET /api/tags", "HEAD", "same")
@pytest.mark.parametrize("path", ["/", "/api/version", "/api/tags"])
def test_head_is_answered_where_ollama_answers_it(client, path):
    response = client.head(path)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-type"] == client.get(path).headers["content-type"]


@pytest.mark.compat(
    ALL, "a path that is not there, a wrong method", "better", "404 and 405 with a JSON error"
)
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/nothing", 404),
        ("POST", "/nothing/", 404),
        ("POST", "/api/generate/x", 404),
        ("HEAD", "/api/ps", 405),
        ("GET", "/api/chat", 405),
        ("GET", "/api/chat/", 405),
        ("POST", "/api/delete", 405),
        ("DELETE", "/api/tags", 405),
    ],
)
def test_what_is_not_routed_is_said(client, method, path, status):
    response = client.request(method, path)
    assert response.status_code == status
    if method != "HEAD":
        text = {404: "404 page not found", 405: "405 method not allowed"}[status]
        assert error_of(response) == text
    assert ("allow" in response.headers) is (status == 405)


@pytest.mark.compat(ALL, "a slash at the end", "better", "served, where Ollama redirects")
def test_a_slash_at_the_end_changes_nothing(service, client):
    assert client.get("/api/tags/").json() == client.get("/api/tags").json()
    assert client.head("/api/version/").status_code == 200
    assert client.post("/api/show/", json={"model": "tiny"}).status_code == 200
    body = {"model": "tiny", "prompt": "Hi", "stream": False}
    assert client.post("/api/generate/", json=body).json()["response"] == ANSWER
    assert client.head(f"/api/blobs/sha256:{'0' * 64}/").status_code == 404
    assert client.post("/api/push/", json={}).status_code == 501


@pytest.mark.compat("GET /api/status", "cloud", "same", "always disabled")
@pytest.mark.compat("GET /api/experimental/model-recommendations", "names", "same")
def test_the_small_routes(client):
    cloud = client.get("/api/status").json()["cloud"]
    assert cloud["disabled"] is True
    assert cloud["source"] in ("none", "env", "config", "both")
    found = client.get("/api/experimental/model-recommendations").json()["recommendations"]
    assert "smollm2:135m" in [model["model"] for model in found]
    assert all(model["description"] for model in found)


@pytest.mark.compat("GET /api/version", "a number that clients can compare", "same")
def test_the_version_is_numbers_and_a_dash(client):
    version = client.get("/api/version").json()["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+-.*", version)


# Bodies


@pytest.mark.compat(ALL, "no body", "same", "400 missing request body")
@pytest.mark.parametrize("route", POSTS)
def test_no_body_is_said(client, route):
    response = client.post(f"/api/{route}")
    assert (response.status_code, error_of(response)) == (400, "missing request body")


@pytest.mark.compat(ALL, "a body that is not a JSON object", "same", "400")
@pytest.mark.parametrize("route", POSTS)
@pytest.mark.parametrize("body", [b"{", b"x", b"[1]", b'"x"', b"1", b"\xff\xfe", b"[" * 50])
def test_a_body_that_is_no_object_is_said(client, route, body):
    response = client.post(f"/api/{route}", content=body)
    assert response.status_code == 400
    assert error_of(response)


@pytest.mark.compat(ALL, "a field of the wrong JSON type", "same", "400 cannot unmarshal")
@pytest.mark.parametrize(
    ("route", "fields"),
    [
        ("generate", {"prompt": 1}),
        ("generate", {"stream": "yes"}),
        ("generate", {"model": ["tiny"]}),
        ("generate", {"suffix": {}}),
        ("chat", {"messages": "x"}),
        ("chat", {"messages": [{"role": "user", "content": ["x"]}]}),
        ("chat", {"tools": "x"}),
        ("show", {"verbose": 1}),
        ("create", {"from": "tiny", "system": 1}),
        ("copy", {"source": 1, "destination": "x"}),
    ],
)
def test_a_field_of_the_wrong_type_is_said(client, route, fields):
    response = client.post(f"/api/{route}", json={"model": "tiny", **fields})
    assert response.status_code == 400
    assert "cannot unmarshal" in error_of(response)


@pytest.mark.compat(ALL, "keys in any case, the last one wins", "same")
@pytest.mark.compat(ALL, "null is absent, bytes behind the object are ignored", "same")
@pytest.mark.compat(ALL, "unknown fields are ignored, any Content-Type", "same")
@pytest.mark.parametrize(
    "body",
    [
        b'{"MODEL": "tiny", "Prompt": "x", "STREAM": false, "options": null, "system": null}',
        b'{"model": "nope", "model": "tiny", "prompt": "x", "stream": true, "Stream": false}',
        b'{"model": "tiny", "prompt": "x", "stream": false, "width": 1, "nobody": {"x": []}} {"x"',
        b' \r\n{"model": "tiny", "MODEL": null, "prompt": "x", "stream": false}',
        b'{"model": "tiny", "prompt": "x", "stream": false, "images": null, "context": null}',
        b'{"model": "tiny", "prompt": "x", "stream": false, "format": null, "think": null}',
        b'{"model": "tiny", "prompt": "x", "stream": false, "keep_alive": null, "raw": null}',
    ],
)
def test_bodies_are_read_as_ollama_reads_them(client, body):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    response = client.post("/api/generate", content=body, headers=headers)
    assert response.json()["response"] == ANSWER


def test_the_keys_of_a_message_match_in_any_case(client):
    messages = [{"Role": "USER", "CONTENT": "Hi", "images": None}]
    body = {"model": "tiny", "messages": messages, "_debug_render_only": True}
    found = client.post("/api/chat", json=body).json()["_debug_info"]["rendered_template"]
    assert "<|im_start|>user\nHi<|im_end|>" in found


@pytest.mark.compat(ALL, "half a surrogate pair in a text", "same", "U+FFFD")
def test_half_a_surrogate_pair_is_replaced(client):
    body = rb'{"model": "tiny", "prompt": "a\ud83e\udd99\uD800b", "stream": false, "nobody": NaN}'
    assert client.post("/api/generate", content=body).json()["response"] == ANSWER
    body = body.replace(b'"stream": false', b'"_debug_render_only": true')
    info = client.post("/api/generate", content=body).json()["_debug_info"]
    assert "a🦙\ufffdb" in info["rendered_template"]


def test_a_null_body_is_an_empty_object(client):
    response = client.post("/api/generate", content=b"null")
    assert response.status_code == 404
    assert error_of(response).startswith("model '' not found")


# Names


@pytest.mark.compat(ALL, "a name that is missing or blank", "same", "400 or 404, as the route does")
@pytest.mark.parametrize("name", [{}, {"model": ""}, {"model": "  "}, {"model": None}])
@pytest.mark.parametrize(
    ("route", "status", "text"),
    [
        ("generate", 404, "model '' not found"),
        ("chat", 400, "model is required"),
        ("show", 400, "model is required"),
        ("pull", 400, "invalid model name"),
        ("create", 400, "invalid model name"),
    ],
)
def test_a_name_that_is_missing_is_said(client, route, name, status, text):
    response = client.post(f"/api/{route}", json=name)
    assert response.status_code == status
    assert error_of(response).startswith(text)


@pytest.mark.compat(ALL, "a name that is none", "same", "400 in Ollama's words")
@pytest.mark.parametrize("name", ["x!", "../x", "a/b/c/d", ":x", "x:", "x@sha256:0", "-x", "x\n/y"])
@pytest.mark.parametrize("route", ["generate", "chat", "show", "create"])
def test_a_name_that_is_none_is_said(client, route, name):
    response = client.post(f"/api/{route}", json={"model": name, "from": "tiny"})
    assert response.status_code == 400
    assert error_of(response).startswith("invalid model name")


@pytest.mark.compat(ALL, "an unknown model", "same", "404 in each route's words")
@pytest.mark.parametrize(
    ("method", "route", "body", "text"),
    [
        ("POST", "generate", {"model": "Nope", "prompt": "x"}, "model 'Nope' not found"),
        ("POST", "generate", {"model": "Nope"}, "model 'Nope' not found"),
        ("POST", "generate", {"model": "Nope", "keep_alive": 0}, "model 'Nope' not found"),
        ("POST", "chat", {"model": "Nope:x"}, "model 'Nope:x' not found"),
        ("POST", "chat", {"model": "Nope", "keep_alive": "0s"}, "model 'Nope' not found"),
        ("POST", "show", {"model": "Nope"}, "model 'Nope:latest' not found"),
        ("POST", "show", {"model": "a/Nope"}, "model 'a/Nope:latest' not found"),
        ("POST", "copy", {"source": "Nope", "destination": "a"}, 'model "Nope" not found'),
        ("DELETE", "delete", {"model": "Nope"}, "model 'Nope' not found"),
        ("DELETE", "delete", {"name": "Nope"}, "model 'Nope' not found"),
    ],
)
def test_an_unknown_model_is_said(client, method, route, body, text):
    response = client.request(method, f"/api/{route}", json=body)
    assert response.status_code == 404
    assert error_of(response).startswith(text)


@pytest.mark.compat(ALL, "models that run elsewhere (cloud)", "not supported", "403 in words")
@pytest.mark.parametrize("name", ["gpt-oss:20b-cloud", "glm:cloud"])
@pytest.mark.parametrize("route", ["generate", "chat"])
def test_a_model_of_the_cloud_is_refused(client, route, name):
    response = client.post(f"/api/{route}", json={"model": name, "prompt": "x"})
    assert response.status_code == 403
    start = "ollama cloud is disabled: remote model is unavailable"
    assert error_of(response).startswith(start)


@pytest.mark.compat(ALL, "names in any case and form, told as they were sent", "same")
@pytest.mark.parametrize(
    "name",
    ["tiny", "TINY", "Tiny:LATEST", " tiny ", "library/tiny", "registry.ollama.ai/library/tiny"],
)
def test_a_name_is_matched_in_any_case_and_told_as_it_was_sent(service, client, name):
    answer = service.generate(model=name).json()
    assert (answer["model"], answer["response"]) == (name, ANSWER)
    body = {"model": name, "messages": [{"role": "user", "content": "Hi"}], "stream": False}
    assert client.post("/api/chat", json=body).json()["model"] == name
    assert client.post("/api/show", json={"model": name}).status_code == 200
    assert len(service.status()["engines"]) == 1


@pytest.mark.compat("GET /api/tags", "names: short, with their tag, in their own case", "same")
def test_names_are_listed_in_their_short_form_and_own_case():
    names = ["Org/Name:latest", "Tiny:V1", "hf.co/Org/Model:Q4_K_M", "tiny:latest"]
    with hosting("thread") as service:
        for name in names[:3]:
            install_tiny(service.store, name)
        models = service.client.get("/api/tags").json()["models"]
        assert sorted(model["name"] for model in models) == sorted(names)
        assert all(model["model"] == model["name"] for model in models)
        service.client.post("/api/copy", json={"source": "ORG/name", "destination": "tiny:v1"})
        models = service.client.get("/api/tags").json()["models"]
        assert models[0]["name"] == "Tiny:V1"


# What lists tell


@pytest.mark.compat("GET /api/tags", "no models: an empty array", "same")
@pytest.mark.compat("GET /api/ps", "nothing loaded: an empty array", "same")
def test_nothing_is_an_empty_array():
    with hosting("thread") as service:
        assert service.client.get("/api/ps").json() == {"models": []}
        service.client.request("DELETE", "/api/delete", json={"model": "tiny"})
        assert service.client.get("/api/tags").json() == {"models": []}


@pytest.mark.compat("GET /api/tags", "fields and their types, newest first", "same")
def test_tags_has_what_clients_read():
    with hosting("thread") as service:
        install_tiny(service.store, "newer")
        models = service.client.get("/api/tags").json()["models"]
    assert [model["name"] for model in models] == ["newer:latest", "tiny:latest"]
    for model in models:
        assert model.keys() == {
            *("name", "model", "modified_at", "size", "digest", "details", "capabilities")
        }
        assert type(model["size"]) is int
        assert re.fullmatch("[0-9a-f]{64}", model["digest"])
        assert datetime.fromisoformat(model["modified_at"]).tzinfo is not None
        assert model["capabilities"] == ["completion"]
        details = model["details"]
        assert details["format"] in ("gguf", "safetensors")
        assert details["families"] == [details["family"]]
        for field in ("parent_model", "parameter_size", "quantization_level"):
            assert type(details[field]) is str
