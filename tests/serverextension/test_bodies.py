"""Bodies of requests through the door: how large, how slow, and what is refused on the way."""

import hashlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest
from aiohttp import web

from hyperllama_nb.access.limits import MAX_BODY_BYTES
from tests.serverextension.jupyter import TOKEN, jupyter
from tests.serverextension.serving import apart, serving

pytestmark = pytest.mark.slow

PIECE = b"0123456789abcdef" * 4096
"""64 KiB."""


def pieces(count):
    for _ in range(count):
        yield PIECE


class Sink:
    """A stand-in for the service that takes bodies and keeps their number of bytes and digest."""

    taken = 0

    async def __call__(self, request):
        self.taken, self.digest = 0, hashlib.sha256()
        if request.path.endswith("full"):
            return web.json_response({"error": "no room"}, status=507)
        async for data in request.content.iter_any():
            self.taken += len(data)
            self.digest.update(data)
        return web.Response(status=201)


@pytest.fixture(scope="module")
def sink():
    return Sink()


@pytest.fixture(scope="module")
def door(sink):
    """Return a Jupyter server in front of a stand-in that takes bodies."""
    config = "c.HyperLlamaApp.upload_limit = 300 << 20\n"
    with apart(), serving({"/{path:.*}": sink}), jupyter(config=config) as server:
        yield server


@pytest.mark.compat("POST /api/blobs/:digest", "large files, through the Jupyter server", "same")
def test_a_large_upload_flows_through_and_is_held_nowhere(door, sink):
    process = psutil.Process(door.process.pid)
    before = process.memory_info().rss
    most = 0

    def watched():
        nonlocal most
        for piece in pieces(3200):
            yield piece
            most = max(most, process.memory_info().rss)

    for headers in ({}, {"Content-Length": str(3200 * len(PIECE))}):
        answer = door.ask(
            "POST", "/api/blobs/sha256:0", key=door.key("models:write"),
            content=watched(), headers=headers,
        )  # fmt: skip
        assert answer.status_code == 201
        assert sink.taken == 3200 * len(PIECE)
        assert sink.digest.digest() == hashlib.sha256(PIECE * 3200).digest()
    assert most - before < 80 << 20  # of 200 MiB


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.compat("every route", "a body beyond the limit", "better", "413 before it is read")
def test_what_is_too_large_is_refused_in_words(door, announced):
    count = (MAX_BODY_BYTES >> 16) + 1
    headers = {"Content-Length": str(count << 16)} if announced else {}
    for path in ("/api/chat", "/v1/chat/completions"):
        answer = door.ask("POST", path, content=pieces(count), headers=headers)
        assert answer.status_code == 413
        assert str(MAX_BODY_BYTES) in answer.text
        assert answer.headers["connection"] == "close"
    large = door.ask("POST", "/api/blobs/sha256:0", content=pieces(4801))
    assert large.status_code == 413
    assert "HyperLlamaApp.upload_limit" in large.json()["error"]


def test_a_whole_body_of_a_refused_request_is_read_and_the_connection_stays(door):
    with httpx.Client(timeout=60) as client:
        for _ in range(50):
            refused = client.post(f"{door.door}/api/chat", content=PIECE * 8)
            assert refused.status_code == 401
            assert "connection" not in refused.headers


def test_no_body_is_read_for_nobody(door, sink):
    begin, sink.taken = time.monotonic(), 0
    refused = door.ask("POST", "/api/blobs/sha256:0", key="hlnb_unknown", content=pieces(4000))
    assert refused.status_code == 401
    assert time.monotonic() - begin < 30
    assert sink.taken == 0


def exchange(door, head, body=b""):
    """Send raw bytes and return what comes back at once."""
    url = httpx.URL(door.door)
    with socket.create_connection((url.host, url.port), timeout=60) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + body)
        return connection.recv(65536).decode()


def test_whoever_asks_before_sending_is_told_not_to(door):
    path = httpx.URL(door.door).raw_path.decode()
    head = (
        "POST {}/api/chat HTTP/1.1\nHost: localhost\nContent-Length: 9\n{}Expect: 100-continue\n\n"
    )
    refused = exchange(door, head.format(path, ""))
    assert refused.startswith("HTTP/1.1 401 ")
    invited = exchange(door, head.format(path, f"Authorization: token {TOKEN}\n"))
    assert invited.startswith("HTTP/1.1 100 ")


def test_an_answer_that_comes_before_the_bodys_end_is_passed_on(door):
    answer = door.ask("POST", "/api/blobs/full", content=pieces(2000))
    assert answer.status_code == 507
    assert answer.json() == {"error": "no room"}


@pytest.mark.parametrize("encoding", ["identity", "chunked"])
def test_bodies_arrive_as_they_were_sent(door, sink, encoding):
    content = json.dumps({"model": "tiny", "prompt": "ü\u0085\u2028"}).encode()
    sent = iter([content[:7], content[7:]]) if encoding == "chunked" else content
    assert door.ask("DELETE", "/api/delete", content=sent).status_code == 201
    assert sink.digest.digest() == hashlib.sha256(content).digest()


def test_a_slow_body_holds_nobody_up(door):
    def slow():
        for _ in range(10):
            yield b" "
            time.sleep(0.1)

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(door.ask, "POST", "/api/chat", content=slow())
        assert door.ask("GET", "/api/tags").status_code == 201
        assert not answer.done()
        assert answer.result(60).status_code == 201


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "1e3", "5, 6"])
def test_a_length_that_is_none_ends_the_connection(door, length):
    path = httpx.URL(door.door).raw_path.decode()
    head = (
        f"POST {path}/api/chat HTTP/1.1\nHost: localhost\nAuthorization: token {TOKEN}\n"
        f"Content-Length: {length}\n\n"
    )
    assert exchange(door, head)[:12] in ("HTTP/1.1 400", "HTTP/1.1 413")
