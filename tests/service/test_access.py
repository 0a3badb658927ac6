"""Who may ask what at which door, over real sockets."""

import json
import logging
import re
import socket
import time
from contextlib import contextmanager
from datetime import timedelta

import httpx
import pytest

from hyperllama_nb.access import limits
from hyperllama_nb.access.callers import HEADER, SCOPES, Caller
from hyperllama_nb.access.keys import KeyStore
from hyperllama_nb.access.scopes import listed, scope_of
from hyperllama_nb.service.app import build_app
from hyperllama_nb.service.routes import generation
from hyperllama_nb.service.service import Service
from hyperllama_nb.testing import Script
from tests.service.hosting import PATIENCE, SLOW, error_of, hosting, until

VERBS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND")

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "stream": False}


def registered():
    """Return the canonical path of every resource, with the verbs that are routed there."""
    found = {}
    for route in build_app(Service(backends={})).router.routes():
        found.setdefault(route.resource.canonical, set()).add(route.method)
    return found


def concrete(route):
    """Return a path that is routed to a resource."""
    return re.sub(r"\{digest\}", f"sha256:{'0' * 64}", re.sub(r"\{(?!digest)\w+\}", "tiny", route))


@contextmanager
def listening(service, host="127.0.0.1"):
    """Open a TCP listener for the duration of the block; gives a client without credentials."""
    with service.client.stream("POST", "/admin/serve", json={"host": host, "port": 0}) as response:
        lines = response.iter_lines()  # to drop the iterator is to close the connection
        port = json.loads(next(lines))["address"].rpartition(":")[2]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
            yield client


def env(store, **others):
    """Return the variables of a service; those of the module's other services are overridden."""
    return {
        "HYPERLLAMA_KEYS": str(store.path),
        "HYPERLLAMA_REQUIRE_KEYS": "",
        "OLLAMA_ORIGINS": "",
        **others,
    }


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return KeyStore(tmp_path_factory.mktemp("keys") / "keys.json")


@pytest.fixture(scope="module")
def keys(store):
    """Return a key for each scope."""
    return {scope: store.create([scope])[0] for scope in SCOPES}


@pytest.fixture(scope="module")
def running(store):
    """Return a service that asks for keys on no loopback address."""
    with hosting("process", env=env(store)) as service:
        yield service


@pytest.fixture(scope="module")
def strict(store):
    """Return a service that asks for keys on loopback addresses, too."""
    with hosting("process", env=env(store, HYPERLLAMA_REQUIRE_KEYS="1")) as service:
        yield service


@pytest.fixture(scope="module")
def loopback(running):
    """Return a client of an open loopback listener."""
    with listening(running) as client:
        yield client


@pytest.fixture(scope="module", params=["keys required", "0.0.0.0"])
def closed(request, running, strict):
    """Return a client, without credential, of a listener that asks for keys."""
    service, host = (strict, "127.0.0.1") if "keys" in request.param else (running, request.param)
    with listening(service, host) as client:
        yield client


# -- without a credential ----------------------------------------------------------------------


def test_every_route_and_verb_refuses_whoever_brings_nothing(closed):
    routes = registered()
    assert len(routes) > 20
    walked = 0
    others = ["/nothing", "/api/nothing", "/admin/nothing", "//api/tags", "/api/tags/"]
    for path in [*map(concrete, routes), *others]:
        for verb in VERBS:
            response = closed.request(verb, path)
            assert response.status_code == 401, (verb, path)
            assert response.headers["www-authenticate"] == "Bearer"
            if verb != "HEAD":
                assert "OLLAMA_API_KEY" in response.text
                assert "hyperllama key create" in response.text
            walked += 1
    assert walked == (len(routes) + len(others)) * len(VERBS)


@pytest.mark.parametrize(
    "request_",
    [
        *("GET /admin/../api/tags", "GET /api/%74ags", "GET /api/tags?token=x", "GET /api/tags#x"),
        *("GET http://127.0.0.1/api/tags", "GET http://evil.example/api/tags", "OPTIONS *"),
        *("GET \\api\\tags", "GET /./api/tags"),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost/health?", "127.0.0.1/admin"])
def test_no_way_of_writing_a_path_gets_around(closed, request_, host):
    answer = raw(closed, f"{request_} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    assert re.match(rb"HTTP/1\.[01] (401|403|400) ", answer), answer[:200]
    assert b"models" not in answer.partition(b"\r\n\r\n")[2].replace(b"models:", b"")


def raw(client, text):
    """Return what a server answers to bytes that no client library would send."""
    with socket.create_connection(("127.0.0.1", client.base_url.port), timeout=PATIENCE) as sock:
        sock.sendall(text.encode("latin-1"))
        data = b""
        while more := sock.recv(65536):
            data += more
    return data


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer ollama"},
        {"Authorization": "Bearer hlnb_"},
        {"Authorization": "Bearer hlnb_" + "A" * 43},
        {"Authorization": "Basic aGxuYl94Og=="},
        {"Authorization": b"Bearer hlnb_\xff\xfe"},
        {"X-API-Key": "hlnb_x"},
        {"Cookie": "token=hlnb_x"},
        {HEADER: Caller("local", frozenset({"admin"})).to_header()},
    ],
)
def test_what_is_no_key_of_ours_is_401(closed, headers):
    response = closed.get("/api/tags", headers=headers)
    assert response.status_code == 401
    assert response.json()["code"] == "unauthenticated"


def test_the_sentence_says_what_is_wrong(closed):
    assert error_of(closed.get("/api/tags")).startswith("This address asks for a key. Make one")
    other = closed.get("/api/tags", headers=bearer("sk-123"))
    assert "keys begin with hlnb_" in error_of(other)
    unknown = closed.get("/api/tags", headers=bearer("hlnb_123"))
    assert "mistyped, was revoked, or has expired" in error_of(unknown)


@pytest.mark.compat("POST /v1/chat/completions", "a request without a key", "same")
def test_below_v1_the_refusal_is_openais(closed, keys):
    error = closed.post("/v1/chat/completions", json=CHAT).json()["error"]
    assert error["code"] == "invalid_api_key"
    response = closed.post("/v1/chat/completions", json=CHAT, headers=bearer(keys["models:read"]))
    assert response.status_code == 403
    assert "scope infer" in response.json()["error"]["message"]


# -- with a key --------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_opens_its_routes_and_no_others(closed, keys, scope):
    headers = bearer(keys[scope])
    for route, verbs in registered().items():
        for verb in verbs & {"GET", "HEAD", "POST", "DELETE"}:
            response = closed.request(verb, concrete(route), headers=headers)
            needed = scope_of(verb, route)
            if route.startswith("/admin/"):
                assert response.status_code == 404, (verb, route)
            elif needed in (None, scope) or scope == "admin":
                assert response.status_code not in (401, 403), (verb, route)
            else:
                assert response.status_code == 403, (verb, route)
                assert verb == "HEAD" or f"the scope {needed}" in response.text


def test_every_route_is_on_the_list_of_scopes():
    open_ = [
        f"{verb} {route}"
        for route, verbs in registered().items()
        for verb in verbs
        if not route.startswith("/admin/") and not listed(verb, route)
    ]
    assert open_ == [], "name them in access/scopes.py: until then they ask for admin"


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "token {}", "Token  {}"])
def test_the_ways_to_send_a_key(closed, keys, form):
    key = keys["models:read"]
    assert closed.get("/api/tags", headers={"Authorization": form.format(key)}).is_success
    assert closed.get("/api/tags", headers={"X-API-Key": key}).is_success


def test_a_key_generates(closed, keys):
    response = closed.post("/api/chat", json=CHAT, headers=bearer(keys["infer"]))
    assert response.json()["done"] is True


def test_a_slash_at_the_end_changes_nothing(closed, keys):
    assert closed.get("/api/tags/", headers=bearer(keys["infer"])).status_code == 403
    assert closed.get("/api/tags/", headers=bearer(keys["models:read"])).is_success


def test_unknown_paths_are_404_for_those_who_may_ask(closed, keys):
    headers = bearer(keys["infer"])
    assert closed.get("/nothing", headers=headers).status_code == 404
    assert closed.put("/api/chat", headers=headers).status_code == 405


def test_a_revoked_key_is_refused_at_the_next_request(closed, store):
    text, key = store.create(["models:read"])
    assert closed.get("/api/tags", headers=bearer(text)).is_success
    store.revoke(key.id)
    assert closed.get("/api/tags", headers=bearer(text)).status_code == 401


def test_an_expired_key_is_refused(closed, store):
    text, _ = store.create(["models:read"], lifetime=timedelta(seconds=1.5))
    assert closed.get("/api/tags", headers=bearer(text)).is_success
    until(lambda: closed.get("/api/tags", headers=bearer(text)).status_code == 401)


def test_where_a_key_is_needed_the_name_of_the_host_is_free(running, keys):
    headers = {"Host": "gpu.example:11434", **bearer(keys["models:read"])}
    with listening(running, "0.0.0.0") as client:
        assert client.get("/api/tags", headers=headers).is_success


# -- loopback without a key --------------------------------------------------------------------


@pytest.mark.compat("all routes", "a key that Ollama's clients make up", "same", "on loopback")
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer ollama"}, {"X-API-Key": "x"}])
def test_on_loopback_nobody_needs_a_key(loopback, headers):
    assert loopback.get("/", headers=headers).text == "Ollama is running"
    assert loopback.post("/api/chat", json=CHAT, headers=headers).json()["done"] is True
    body = {"source": "tiny", "destination": "copy"}
    assert loopback.post("/api/copy", json=body, headers=headers).is_success
    deleted = loopback.request("DELETE", "/api/delete", json={"model": "copy"}, headers=headers)
    assert deleted.is_success


def test_on_loopback_a_key_counts_as_what_it_is(loopback, keys):
    assert loopback.get("/api/tags", headers=bearer(keys["infer"])).status_code == 403
    assert loopback.get("/api/tags", headers=bearer("hlnb_wrong")).status_code == 401


@pytest.mark.parametrize("path", ["/admin/status", "/admin/status/", "/admin/none"])
def test_private_routes_are_not_there_on_tcp(loopback, keys, path):
    unknown = loopback.get("/unknown")
    for headers in ({}, bearer(keys["admin"])):
        response = loopback.get(path, headers=headers)
        assert (response.status_code, response.text) == (404, unknown.text)


def test_headers_of_doors_count_for_nothing_from_outside(store, monkeypatch):
    asked = []
    check = generation.check
    monkeypatch.setattr(
        generation, "check", lambda ask, store: (asked.append(ask), check(ask, store))
    )
    with (
        hosting("thread", env=env(store)) as service,
        service.lease() as lease,
        listening(service) as outside,
    ):
        headers = {
            HEADER: Caller("jupyter:ann", frozenset({"infer"})).to_header(),
            "X-HyperLlama-Lease": lease,
            "X-HyperLlama-Progress": "1",
        }
        body = {**CHAT, "stream": True}
        for client in (outside, service.client):
            assert client.post("/api/chat", json=body, headers=headers).is_success
        assert [lease["models"] for lease in service.status()["leases"]] == [["tiny:latest"]]
    assert [(ask.caller, ask.lease) for ask in asked] == [
        ("loopback", None),
        ("jupyter:ann", lease),
    ]


def test_progress_is_told_on_the_socket_alone(store):
    headers = {"X-HyperLlama-Progress": "1"}
    told = []
    for inside in (True, False):
        with hosting("thread", env=env(store)) as service, listening(service) as outside:
            client = service.client if inside else outside
            answer = client.post("/api/chat", json={**CHAT, "stream": True}, headers=headers)
            told.append(list(map(json.loads, answer.text.splitlines())))
    assert "done" not in told[0][0]
    assert all("done" in line for line in told[1])


def test_a_closed_listener_is_closed_for_old_connections_too(running):
    with httpx.Client(timeout=PATIENCE) as kept:
        with listening(running) as client:
            url = client.base_url
            assert kept.get(f"{url}/api/tags").is_success
        until(lambda: str(url.port) not in str(running.status()["listeners"]))
        assert kept.get(f"{url}/api/tags").status_code == 401


# -- the Unix socket ---------------------------------------------------------------------------


def test_the_socket_is_the_users(running):
    assert running.client.get("/admin/status").is_success
    assert running.client.get("/api/tags", headers=bearer("hlnb_wrong")).is_success


@pytest.mark.parametrize("scope", [None, *SCOPES])
def test_a_door_says_who_asks(running, scope):
    who = Caller("jupyter:ann", frozenset({scope} if scope else ()))
    headers = {HEADER: who.to_header()}
    for verb, path in (("GET", "/"), ("GET", "/api/tags"), ("DELETE", "/api/delete")):
        response = running.client.request(verb, path, headers=headers)
        needed = scope_of(verb, path)
        assert (response.status_code == 403) is (needed is not None and not who.may(needed))
    status = running.client.get("/admin/status", headers=headers).status_code
    assert status == (200 if scope == "admin" else 403)


@pytest.mark.parametrize("value", ["", "x", "e30=", "W10=", "\xff", "eyJpZCI6ICJhIn0="])
def test_a_malformed_caller_is_400(running, value):
    response = running.client.get("/api/tags", headers={HEADER: value.encode("latin-1")})
    assert response.status_code == 400
    assert HEADER in error_of(response)


# -- limits ------------------------------------------------------------------------------------


def test_a_key_is_held_to_its_requests_per_minute(running, loopback, store):
    text, key = store.create(["models:read"], requests_per_minute=2)
    door = {HEADER: key.caller.to_header()}
    assert loopback.get("/api/tags", headers=bearer(text)).is_success
    assert running.client.get("/api/tags", headers=door).is_success
    for client, headers in ((loopback, bearer(text)), (running.client, door)):
        response = client.get("/api/tags", headers=headers)
        assert response.status_code == 429
        assert 0 < int(response.headers["retry-after"]) <= 60
        assert response.json()["code"] == "rate_limited"
    assert loopback.get("/api/tags").is_success


def test_a_key_is_held_to_its_concurrent_requests(store):
    text, _ = store.create(["infer"], concurrent=1)
    body = {"model": "tiny", "prompt": "Hi"}
    with hosting("thread", (SLOW,), env=env(store)) as service, listening(service) as client:

        def status():
            with client.stream("POST", "/api/generate", json=body, headers=bearer(text)) as second:
                return second.status_code

        with client.stream("POST", "/api/generate", json=body, headers=bearer(text)) as first:
            lines = first.iter_lines()
            next(lines)
            assert status() == 429
        until(lambda: status() == 200)


@pytest.mark.parametrize("route", ["/api/chat", "/api/show", "/v1/chat/completions"])
def test_a_body_that_nests_deeply_is_400(loopback, route):
    body = b'{"model": "tiny", "format": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    response = loopback.post(route, content=body)
    assert response.status_code == 400
    assert "64 deep" in response.text


def test_a_body_that_does_not_come_is_408(store, monkeypatch):
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.2)
    head = "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
    with (
        hosting("thread", env=env(store)) as service,
        listening(service) as client,
        socket.create_connection(("127.0.0.1", client.base_url.port), timeout=PATIENCE) as sock,
    ):
        sock.sendall(head.encode())
        answer = sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive" in answer


# -- web pages ---------------------------------------------------------------------------------

PAGE = "https://app.example"

PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


@pytest.fixture(scope="module", params=["", "1"], ids=["open", "keys required"])
def paged(request, store):
    """Return a client of a listener that one web page may use."""
    origins = f"{PAGE}, http://localhost:*"
    variables = env(store, HYPERLLAMA_REQUIRE_KEYS=request.param, OLLAMA_ORIGINS=origins)
    with hosting("process", env=variables) as service, listening(service) as client:
        yield client


@pytest.mark.compat("all routes", "OLLAMA_ORIGINS", "better", "no origin until one is named")
@pytest.mark.parametrize("origin", [PAGE, "http://localhost:3000"])
def test_a_named_page_may_ask(paged, keys, origin):
    asked = paged.options("/api/chat", headers={"Origin": origin, **PREFLIGHT})
    assert (asked.status_code, asked.content) == (204, b"")
    assert asked.headers["access-control-allow-origin"] == origin
    assert asked.headers["vary"] == "Origin"
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert "authorization" in asked.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in asked.headers
    headers = {"Origin": origin, **bearer(keys["infer"])}
    for stream in (True, False):
        answer = paged.post("/api/chat", json={**CHAT, "stream": stream}, headers=headers)
        assert answer.is_success
        assert answer.headers["access-control-allow-origin"] == origin
    refused = paged.get("/api/tags", headers=headers)  # a page can read why
    assert refused.status_code == 403
    assert refused.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{PAGE}.evil.example", ""])
@pytest.mark.parametrize("verb", ["GET", "OPTIONS", "POST"])
def test_another_page_is_403(paged, keys, origin, verb):
    headers = {"Origin": origin, **PREFLIGHT, **bearer(keys["admin"])}
    response = paged.request(verb, "/api/chat", headers=headers)
    assert response.status_code == 403
    assert "OLLAMA_ORIGINS" in error_of(response)
    assert "access-control-allow-origin" not in response.headers


def test_no_page_may_ask_where_none_is_named(loopback, closed, keys):
    for client in (loopback, closed):
        for origin in (PAGE, "http://127.0.0.1", str(client.base_url)):
            headers = {"Origin": origin, **bearer(keys["infer"])}
            assert client.get("/", headers=headers).status_code == 403


def test_programs_send_no_origin(paged, keys):
    answer = paged.get("/api/tags", headers=bearer(keys["models:read"]))
    assert answer.is_success
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_options_without_a_question_is_an_ordinary_request(paged, keys):
    headers = {"Origin": PAGE, **bearer(keys["infer"])}
    assert paged.options("/api/chat", headers=headers).status_code == 405


def test_on_the_socket_an_origin_is_the_doors_business(running):
    assert running.client.get("/api/tags", headers={"Origin": PAGE}).is_success


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OLLAMA_ORIGINS", "app.example"), ("HYPERLLAMA_REQUIRE_KEYS", "maybe")],
)
def test_a_wrong_setting_is_told_at_the_start(variable, value):
    with (
        pytest.raises(Exception, match=variable),
        hosting("thread", env={variable: value}),
    ):
        pass


# -- the log -----------------------------------------------------------------------------------

MARK = "a-secret-that-no-log-may-hold"


def provoke(client, key):
    """Ask well and badly, with a key and the mark in every place that takes a text."""
    headers = bearer(key)
    chat = {**CHAT, "messages": [{"role": "user", "content": MARK}]}
    statuses = [
        client.post(path, json=body, headers=headers).status_code
        for path, body in (
            ("/api/chat", chat),
            ("/api/chat", {**chat, "stream": True}),
            ("/v1/chat/completions", chat),
            ("/api/generate", {"model": "tiny", "prompt": MARK}),
            ("/api/generate", {"model": "tiny", "prompt": MARK, "options": {"stop": 3}}),
            ("/api/embed", {"model": "tiny", "input": MARK}),
        )
    ]
    statuses.append(client.post("/api/chat", content=f'{{"{MARK}', headers=headers).status_code)
    statuses.append(client.get("/api/tags", headers=bearer(f"hlnb_{MARK}")).status_code)
    head = f"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}"
    for end in (f"\0{MARK}\r\n\r\n", "x" * 40_000, f"\r\n{MARK} : x\r\n\r\n"):
        assert re.match(rb"HTTP/1\.[01] 400 ", raw(client, head + end))
    return statuses


@pytest.mark.parametrize("script", [Script(), Script(status=500, error=MARK, warmup=1)])
def test_neither_prompts_nor_keys_are_in_the_services_log(script, store, keys):
    with hosting("process", (script,), env=env(store)) as service:
        log = service.socket.parent / "service.log"
        with listening(service) as client:
            statuses = provoke(client, keys["infer"])
            assert 401 in statuses
            assert (500 in statuses) is (script.status == 500)
        time.sleep(0.2)
        text = log.read_text()
        assert "listening on" in text
        assert MARK not in text
        assert keys["infer"] not in text
        assert "hlnb_" not in text


def test_an_unexpected_failure_is_logged_by_place_and_kind(store, keys, monkeypatch, caplog):
    caplog.set_level(logging.INFO)

    def fail(ask, store):
        try:
            raise KeyError(ask.messages[0]["content"])
        except KeyError as error:
            raise ValueError(f"cannot read {MARK} of {keys['infer']}") from error

    monkeypatch.setattr(generation, "check", fail)
    chat = {**CHAT, "messages": [{"role": "user", "content": MARK}]}
    with hosting("thread", env=env(store)) as service, listening(service) as client:
        response = client.post("/api/chat", json=chat, headers=bearer(keys["infer"]))
    assert response.status_code == 500
    assert MARK not in response.text
    logged = caplog.text
    assert "builtins.ValueError" in logged
    assert "caused by" in logged
    assert "generation.py" in logged
    assert MARK not in logged
    assert keys["infer"] not in logged


@pytest.mark.parametrize("which", ["running", "strict"])
def test_a_taken_port_names_its_owner(request, which):
    service = request.getfixturevalue(which)
    with listening(service) as client:
        body = {"host": "127.0.0.1", "port": client.base_url.port}
        with service.client.stream("POST", "/admin/serve", json=body) as response:
            assert response.status_code == 409
            said = json.loads(response.read())["error"]
    assert "Another HyperLlama service" in said
    assert ("asks for keys" in said) is (which == "strict")
    assert "--port" in said
