"""Which scope a route asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.access.scopes import scope_of

INFER = (
    *("/api/generate", "/api/chat", "/api/embed", "/api/embeddings"),
    *("/api/tokenize", "/api/detokenize"),
    *("/v1/chat/completions", "/v1/completions", "/v1/embeddings"),
)


@pytest.mark.parametrize("path", INFER)
def test_generating_asks_for_infer(path):
    assert scope_of("POST", path) == "infer"
    assert scope_of("GET", path) == scope_of("DELETE", path) == "admin"


@pytest.mark.parametrize(
    "request_",
    [
        *("GET /api/tags", "HEAD /api/tags", "GET /api/ps", "POST /api/show", "GET /metrics"),
        *("GET /v1/models", "GET /v1/models/{model}", "GET /v1/models/hf.co/org/name:tag"),
    ],
)
def test_seeing_models_asks_for_models_read(request_):
    assert scope_of(*request_.split()) == "models:read"


@pytest.mark.parametrize(
    "request_",
    [
        *("POST /api/pull", "POST /api/create", "POST /api/copy", "DELETE /api/delete"),
        *("POST /api/push", "HEAD /api/blobs/{digest}", "POST /api/blobs/sha256:00"),
    ],
)
def test_changing_models_asks_for_models_write(request_):
    assert scope_of(*request_.split()) == "models:write"


@pytest.mark.parametrize("path", ["/", "/api/version", "/health"])
def test_the_heartbeat_asks_for_any_credential(path):
    assert scope_of("GET", path) is scope_of("HEAD", path) is None


@given(st.sampled_from(["GET", "POST", "PUT", "get", "*", ""]), st.text())
def test_what_is_not_listed_is_for_admins(method, text):
    assert scope_of(method, f"/none/{text}") == "admin"
    assert scope_of(method, f"/admin/{text}") == "admin"


@pytest.mark.parametrize(
    "path", ["/api/chat/", "//api/chat", "/API/chat", "/api/chat?x", "/api/chat\n", "/v1/models/"]
)
def test_paths_match_whole(path):
    assert scope_of("POST", path) == "admin"
