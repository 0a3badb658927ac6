"""The id of a request: in its answer, in the log, and at its engine."""

import asyncio
import json
import logging
import re

import httpx
import pytest

from hyperllama_nb.engines.openai import Wire
from hyperllama_nb.engines.requestid import REQUEST_ID
from tests.service.hosting import SLOW, hosting, open_stream, until

HEADER = "X-Request-Id"
MINTED = re.compile(r"[0-9a-f]{16}")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/version", None, 200),
        ("GET", "/metrics", None, 200),
        ("POST", "/api/generate", {"model": "tiny", "prompt": "x", "stream": False}, 200),
        ("POST", "/api/generate", {"model": "tiny", "prompt": "x"}, 200),
        ("POST", "/v1/chat/completions", {"model": "none", "messages": []}, 404),
        ("POST", "/api/generate", {"model": "none"}, 404),
        ("POST", "/api/chat", {}, 400),
        ("GET", "/nothing", None, 404),
        ("PUT", "/api/tags", None, 405),
    ],
)
def test_every_answer_has_an_id(client, method, path, body, status):
    answer = client.request(method, path, json=body)
    assert MINTED.fullmatch(answer.headers[HEADER])
    again = client.request(method, path, json=body, headers={HEADER: "a.b_c-9"})
    assert again.headers[HEADER] == "a.b_c-9"
    if status != 404 or not path.startswith("/v1"):
        assert answer.status_code == status


@pytest.mark.parametrize("given", ["", "two words", "a/b", "ä", "x" * 129, "a;b", "a\tb"])
def test_an_id_that_is_no_plain_word_is_replaced(client, given):
    answer = client.get("/api/version", headers={HEADER: given.encode()})
    assert MINTED.fullmatch(answer.headers[HEADER])


def test_each_request_of_a_connection_has_its_own(client):
    ids = {client.get("/api/version").headers[HEADER] for _ in range(5)}
    assert len(ids) == 5


def test_the_log_names_each_request_and_nothing_private(thread, caplog):
    caplog.set_level(logging.INFO, "hyperllama_nb.service.requests")
    with thread() as service:
        body = {"model": "tiny", "prompt": "my secret", "stream": False}
        service.client.post(
            "/api/generate?key=hidden",
            json=body,
            headers={HEADER: "id-1", "Authorization": "Bearer hidden"},
        )
        service.client.get("/api/tags/hidden")
        service.status()
        until(lambda: len(lines(caplog)) == 2)
    first, second = lines(caplog)
    assert re.fullmatch(
        r"POST /api/generate 200 [0-9.]+ s caller=local model=tiny:latest", first.getMessage()
    )
    assert re.fullmatch(r"GET other 404 [0-9.]+ s caller=local model=-", second.getMessage())
    assert "hidden" not in caplog.text
    assert "secret" not in caplog.text


def lines(caplog):
    return [
        record
        for record in caplog.records
        if record.name.endswith("service.requests") and record.levelno == logging.INFO
    ]


def test_every_line_that_a_request_causes_carries_its_id():
    # In a process of its own: the log of a kernel is the kernel's.
    with hosting("process") as service:
        service.client.post(
            "/api/generate",
            json={"model": "tiny", "prompt": "x", "stream": False},
            headers={HEADER: "id-1"},
        )
        log = service.socket.with_name("service.log").read_text("utf-8")
    named = [line for line in log.splitlines() if " [id-1]: " in line]
    assert any("is ready after" in line for line in named)
    assert any("POST /api/generate 200" in line for line in named)
    assert re.search(r"INFO hyperllama_nb\.service\.host \[-\]: listening on ", log)


def test_a_client_that_left_is_logged_as_499(thread, caplog):
    caplog.set_level(logging.INFO, "hyperllama_nb.service.requests")
    with thread([SLOW]) as service:
        with open_stream(service):
            pass
        until(lambda: any(" 499 " in record.getMessage() for record in lines(caplog)))


def test_parallel_streams_keep_their_own(host):
    with host([SLOW]) as service:
        streams = [
            service.client.stream(
                "POST",
                "/api/generate",
                json={"model": "tiny", "prompt": "x"},
                headers={HEADER: f"id-{number}"},
            )
            for number in range(3)
        ]
        answers = [stream.__enter__() for stream in streams]
        assert [answer.headers[HEADER] for answer in answers] == ["id-0", "id-1", "id-2"]
        for stream in streams:
            stream.__exit__(None, None, None)


def test_the_engine_is_sent_the_id(tmp_path):
    seen = []

    async def serve(reader, writer):
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def run():
        path = tmp_path / "s"
        async with await asyncio.start_unix_server(serve, path):
            wire = Wire(path)
            REQUEST_ID.set("id-1")
            assert await wire.health()

    asyncio.run(run())
    assert b"\r\nX-Request-Id: id-1\r\n" in seen[0]


def test_an_answer_over_tcp_has_one_too(thread):
    listen = {"host": "127.0.0.1", "port": 0}
    with (
        thread() as service,
        service.client.stream("POST", "/admin/serve", json=listen) as listener,
    ):
        lines = listener.iter_lines()
        address = json.loads(next(lines))["address"]
        with httpx.Client(base_url=f"http://{address}") as client:
            for name, status in (("127.0.0.1", 200), ("evil.example", 403)):
                answer = client.get("/api/version", headers={"Host": name})
                assert answer.status_code == status
                assert MINTED.fullmatch(answer.headers[HEADER])
