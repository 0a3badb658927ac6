"""Who is let in at the door, as whom, and what everybody else is told."""

import json
import re
from datetime import timedelta

import httpx
import pytest
from aiohttp import web

from hyperllama_nb.access.callers import HEADER, Caller
from hyperllama_nb.access.scopes import _ROUTES
from tests.serverextension.jupyter import TOKEN, jupyter
from tests.serverextension.serving import apart, serving

pytestmark = pytest.mark.slow

PATHS = sorted(
    {
        re.sub(r"\{\w+\}", "x", route.partition(" ")[2])
        for routes in _ROUTES.values()
        for route in routes
    }
    | {"", "/", "/admin/status", "/admin/stop", "/nothing", "/api/chat/", "//admin/status"}
)

VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")

WRONG = (
    {},
    {"Authorization": "Bearer wrong"},
    {"Authorization": "token wrong"},
    {"Authorization": "Bearer hlnb_wrong"},
    {"Authorization": f"Basic {TOKEN}"},
    {"X-API-Key": "hlnb_wrong"},
    {"Cookie": "username-localhost=wrong; _xsrf=1", "X-XSRFToken": "1"},
    {HEADER: Caller("local", frozenset({"admin"})).to_header()},
)


def words_of(response):
    """Return the text of a refusal, whichever form its route has."""
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    return error["message"] if isinstance(error, dict) else error


@pytest.mark.compat("every route", "without a credential", "better", "Ollama asks for none")
@pytest.mark.parametrize("headers", WRONG, ids=lambda headers: str(headers)[:40])
def test_without_a_credential_no_verb_and_no_path_answers(server, headers):
    for path in PATHS:
        for verb in VERBS:
            response = server.client.request(verb, f"{server.door}{path}", headers=headers)
            known = verb not in ("TRACE", "PROPFIND")
            assert response.status_code == (401 if known else 405), (verb, path)
            assert "location" not in response.headers
            assert "set-cookie" not in response.headers
            if verb != "HEAD":
                assert "xsrf" not in response.text
            if known and verb != "HEAD":
                assert "OLLAMA_API_KEY" in words_of(response)
                assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"bearer {TOKEN}"},
        {"Authorization": f"token {TOKEN}"},
        # a browser that is not logged in sends stale cookies along
        {"Authorization": f"Bearer {TOKEN}", "Cookie": "username-localhost=stale"},
        {"Authorization": f"Bearer {TOKEN}", "Origin": "https://elsewhere.example"},
    ],
)
@pytest.mark.compat("every route", "through the Jupyter server, with its token", "same")
def test_the_servers_token_lets_in(server, headers):
    response = server.client.post(
        f"{server.door}/api/show", json={"model": "tiny"}, headers=headers
    )
    assert response.status_code == 200
    assert response.json()["details"]["family"] == "llama"
    assert "set-cookie" not in response.headers
    assert "access-control-allow-origin" not in response.headers
    assert server.client.get(f"{server.door}/api/tags", headers=headers).json()["models"]


@pytest.mark.compat("every route", "through the Jupyter server, with a key", "same")
def test_a_key_lets_in_wherever_it_is_written(server):
    key = server.key("models:read")
    for headers in (
        {"Authorization": f"Bearer {key}"},
        {"Authorization": f"token {key}"},
        {"X-API-Key": key},
        # a cookie beside it changes nothing, and needs no token of the page
        {"Authorization": f"Bearer {key}", "Cookie": "username-localhost=stale; _xsrf=1"},
    ):
        response = server.client.post(
            f"{server.door}/api/show", json={"model": "tiny"}, headers=headers
        )
        assert response.status_code == 200, headers
    shown = server.client.post(f"{server.door}/api/show?token={key}", json={"model": "tiny"})
    assert shown.status_code == 200
    assert server.client.get(f"{server.door}/api/tags?token={TOKEN}").status_code == 200
    assert key not in server.log


def test_a_revoked_or_expired_key_lets_nobody_in(server):
    text, key = server.keys.create(["infer"])
    assert server.ask("GET", "/api/version", key=text).status_code == 200
    server.keys.revoke(key.id)
    refused = server.ask("GET", "/api/version", key=text)
    assert refused.status_code == 401
    assert "revoked" in words_of(refused)
    short, _ = server.keys.create(["infer"], lifetime=timedelta(microseconds=1))
    assert server.ask("GET", "/api/version", key=short).status_code == 401


@pytest.mark.parametrize("path", ["/api/copy", "/api/pull", "/api/create"])
def test_a_key_without_the_scope_is_told_which_it_needs(server, path):
    refused = server.ask("POST", path, key=server.key("infer"), json={"source": "a"})
    assert refused.status_code == 403
    assert "models:write" in words_of(refused)


def test_a_key_without_the_scope_below_v1(server):
    refused = server.ask("GET", "/v1/models", key=server.key("infer"))
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "insufficient_permissions"
    assert refused.json()["error"]["type"] == "permission_error"


def test_what_there_is_not_is_not_there_for_keys_either(server):
    key = server.key("infer")
    assert server.ask("GET", "/api/made-up", key=key).status_code == 404
    assert server.ask("PUT", "/api/tags", key=key).status_code == 405


@pytest.mark.parametrize(
    ("method", "path", "denied"),
    [
        ("POST", "/api/generate", "execute/hyperllama:infer"),
        ("POST", "/v1/chat/completions", "execute/hyperllama:infer"),
        ("GET", "/api/tags", "read/hyperllama:models"),
        ("DELETE", "/api/delete", "write/hyperllama:models"),
        ("POST", "/api/blobs/sha256:0", "write/hyperllama:models"),
        ("GET", "/api/version", "read/hyperllama"),
    ],
)
def test_the_authorizer_is_asked_about_an_action_and_a_resource(server, method, path, denied):
    refused = server.ask(method, path, headers={"X-Test-Deny": denied})
    assert refused.status_code == 403
    assert denied.replace("/", " ") in words_of(refused)
    others = "read/contents write/kernels execute/hyperllama:admin"
    assert server.ask(method, path, headers={"X-Test-Deny": others}).status_code != 403


@pytest.fixture
def browser(server):
    """Return a client that is logged in with cookies alone, as a page of the server is."""
    with httpx.Client(trust_env=False) as client:
        client.get(f"{server.root}login")
        client.get(f"{server.root}api/me?token={TOKEN}")
        assert "_xsrf" in client.cookies
        yield client


def test_a_page_of_the_server_keeps_jupyters_rules(server, browser):
    url = f"{server.door}/api/show"
    refused = browser.post(url, json={"model": "tiny"})
    assert refused.status_code == 403
    assert "X-XSRFToken" in words_of(refused)
    token = {"X-XSRFToken": browser.cookies["_xsrf"]}
    assert browser.post(url, json={"model": "tiny"}, headers=token).status_code == 200
    assert browser.get(f"{server.door}/api/tags").status_code == 200


def test_a_page_from_elsewhere_may_not_use_the_login(server, browser):
    headers = {"Origin": "https://evil.example", "X-XSRFToken": browser.cookies["_xsrf"]}
    for verb, path in (("GET", "/api/tags"), ("POST", "/api/generate")):
        refused = browser.request(verb, f"{server.door}{path}", headers=headers)
        assert refused.status_code == 403
        assert "https://evil.example" in words_of(refused)
        assert "access-control-allow-origin" not in refused.headers


def test_a_host_of_another_name_is_refused(server):
    for headers in ({}, {"Authorization": f"Bearer {server.key('infer')}"}):
        refused = server.ask("GET", "/api/version", headers={"Host": "evil.example", **headers})
        assert refused.status_code == 403
        assert "allow_remote_access" in words_of(refused)


def test_a_preflight_needs_an_origin_that_is_named(server):
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    assert server.client.options(f"{server.door}/api/chat", headers=asked).status_code == 401


PRIVATE = [
    "/admin/status",
    "/admin",
    "/Admin/status",
    "/%61dmin/status",
    "/admin%2Fstatus",
    "//admin/status",
    "/api/../admin/status",
    "/api/%2e%2e/admin/status",
    "/api/..%2fadmin/status",
    "/v1/models/..",
    "/api\\..\\admin",
]


@pytest.mark.parametrize("path", PRIVATE)
def test_private_routes_have_no_door(server, path):
    for key in (None, server.key("admin")):
        url = httpx.URL(server.root).copy_with(raw_path=f"/a%40b/hyperllama{path}".encode())
        bearer = {"Authorization": f"Bearer {key or TOKEN}"}
        assert server.client.get(url, headers=bearer).status_code == 404


# What the service is told, seen by a stand-in for it.


@pytest.fixture(scope="module")
def open_server():
    """Return a server that names an origin and asks for no token, before a stand-in."""
    found = []

    def answer(request):
        found.append(request)
        return web.json_response(
            {},
            headers={
                "Access-Control-Allow-Origin": "*",
                "Set-Cookie": "a=b",
                "X-Request-Id": request.headers["X-Request-Id"],
            },
        )

    config = "c.ServerApp.allow_origin = 'https://app.example'\n"
    with (
        apart(),
        serving({"/{path:.*}": answer}),
        jupyter(config=config, base="/") as server,
    ):
        server.found = found
        yield server


def test_credentials_go_no_further_and_private_headers_do_not_come_in(open_server):
    key = open_server.key("infer", "models:read")
    response = open_server.client.get(
        f"{open_server.door}/api/tags?token={key}&a=%2Fb&_xsrf=2",
        headers={
            "Authorization": f"Bearer {key}",
            "X-API-Key": key,
            "Cookie": "a=b",
            "X-XSRFToken": "2",
            HEADER: Caller("local", frozenset({"admin"})).to_header(),
            HEADER.upper(): "x",
            "X-HyperLlama-Lease": "abc",
            "X-HyperLlama-Progress": "1",
            "Connection": "keep-alive, X-Mine",
            "X-Mine": "1",
            "X-Request-Id": "mine-1",
            "X-Other": "stays",
        },
    )
    request = open_server.found[-1]
    assert request.raw_path == "/api/tags?a=%2Fb"
    assert request.headers.getall(HEADER) == [
        Caller(
            f"key:{open_server.keys.list()[-1].id}", frozenset({"infer", "models:read"})
        ).to_header()
    ]
    names = {name.lower() for name in request.headers}
    assert names == {
        *("host", "connection", "accept", "accept-encoding", "user-agent", "x-other"),
        *(HEADER.lower(), "x-request-id"),
    }
    assert request.headers["X-Request-Id"] == response.headers["x-request-id"] == "mine-1"
    assert "set-cookie" not in response.headers
    assert response.headers["access-control-allow-origin"] == "https://app.example"


def test_a_user_has_the_scope_that_the_request_needs_and_no_more(open_server):
    for path, scopes in (
        ("/api/tags", {"models:read"}),
        ("/api/version", set()),
        ("/new", {"admin"}),
    ):
        open_server.ask("GET", path)
        told = Caller.from_header(open_server.found[-1].headers[HEADER])
        assert told == Caller("jupyter:token", frozenset(scopes))


def test_a_bad_request_id_is_replaced(open_server):
    response = open_server.ask("GET", "/api/tags", headers={"X-Request-Id": "a b\tc"})
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])
    refused = open_server.client.get(open_server.door, headers={"X-Request-Id": "mine-2"})
    assert refused.headers["x-request-id"] == "mine-2"


def test_a_preflight_of_a_named_origin_is_answered(open_server):
    asked = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    count = len(open_server.found)
    answer = open_server.client.options(f"{open_server.door}/api/chat", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert len(open_server.found) == count


def test_a_server_that_asks_for_no_token_takes_keys(service):
    env = {"HYPERLLAMA_RUNTIME_DIR": str(service.socket.parent)}
    with jupyter(token="", config="", env=env) as server:
        refused = server.client.post(f"{server.door}/api/show", json={"model": "tiny"})
        assert refused.status_code == 403
        assert "OLLAMA_API_KEY" in words_of(refused)
        key = server.key("models:read")
        assert server.ask("POST", "/api/show", key=key, json={"model": "tiny"}).status_code == 200
        assert json.loads(server.client.get(f"{server.door}/api/tags").text)["models"]
    # The service is the user's: it stays when a Jupyter server ends.
    assert service.client.get("/api/version").status_code == 200
