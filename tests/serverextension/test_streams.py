"""Answers through the door: each line as it is made, and an end of the work for who leaves."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise

import httpx
import psutil
import pytest

from hyperllama_nb.testing import Script, install_tiny
from tests.serverextension.jupyter import TOKEN, jupyter
from tests.serverextension.serving import apart
from tests.service.hosting import PATIENCE, SLOW, hosting, until

pytestmark = pytest.mark.slow

PACED = Script(pieces=["one", " two", " three", " four"], delay=0.25)


@pytest.fixture(scope="module")
def door():
    """Return a Jupyter server that `leading` leads to one service after the other."""
    with apart() as place, jupyter() as server:
        server.socket = place / "service.sock"
        yield server


@contextmanager
def leading(server, service):
    """Lead the server's door to a service for the duration of the block."""
    server.socket.symlink_to(service.socket)
    try:
        yield service, server
    finally:
        server.socket.unlink()


@pytest.fixture
def behind(door):
    """Return a context manager that gives a service with these scripts, and the door to it."""

    @contextmanager
    def open_(*scripts, slots=4):
        with hosting("process", scripts, slots=slots) as service, leading(door, service) as both:
            yield both

    return open_


@pytest.fixture(scope="module")
def slow_service():
    with hosting("process", [SLOW], slots=2) as service:
        yield service


@pytest.fixture
def slow(door, slow_service):
    """Return a service whose answers do not end, with two slots, and its door."""
    with leading(door, slow_service) as both:
        yield both
        until(lambda: not slow_service.engine() or idle(slow_service))


@contextmanager
def stream(server, path="/api/generate", **fields):
    body = {"model": "tiny", "prompt": "x", **fields}
    bearer = {"Authorization": f"Bearer {server.token}"}
    with server.client.stream(
        "POST", f"{server.door}{path}", json=body, headers=bearer
    ) as response:
        yield response


@pytest.mark.compat(
    "POST /v1/chat/completions", "events one by one, through the Jupyter server", "same"
)
@pytest.mark.compat("POST /api/generate", "lines one by one, through the Jupyter server", "same")
def test_lines_arrive_one_by_one(behind):
    with behind(PACED) as (_, server):
        lines_arrive(server)
        events_arrive(server)


def lines_arrive(server):
    server.ask("POST", "/api/generate", json={"model": "tiny"})  # loads
    times = []
    with stream(server) as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        for line in response.iter_lines():
            assert json.loads(line)
            times.append(time.monotonic())
    gaps = [after - before for before, after in pairwise(times)]
    assert len(times) == 5
    assert all(gap > 0.1 for gap in gaps[:3])


def events_arrive(server):
    times, events = [], []
    body = {"messages": [{"role": "user", "content": "x"}], "stream": True}
    with stream(server, "/v1/chat/completions", **body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            if line:
                events.append(line)
                times.append(time.monotonic())
    assert events[-1] == "data: [DONE]"
    assert times[-1] - times[0] > 0.5


def idle(service):
    engine = service.engine()
    return engine and not engine["running"] and not engine["queued"]


def test_whoever_leaves_in_the_middle_ends_the_work(slow):
    service, server = slow
    with stream(server) as response:
        lines = response.iter_lines()  # to drop the iterator is to close the connection
        next(lines)
        assert server.metric("hyperllama_door_open_requests") == 1
        [request] = [r for r in service.requests() if not r["done"] and r["cancelled_at"] is None]
    until(lambda: idle(service))
    assert service.requests()[-1]["cancelled_at"] >= request["sent"]
    until(lambda: server.metric("hyperllama_door_open_requests") == 0)


def test_whoever_leaves_before_the_first_token_ends_the_work(behind):
    with behind(Script(delay_first=300.0, warmup=1)) as (service, server):
        connection = send(server)
        until(lambda: (service.engine() or {}).get("running") == 1)
        until(service.requests)
        connection.close()
        until(lambda: idle(service))
        assert service.requests()[-1]["cancelled_at"] == 0


def test_whoever_leaves_the_queue_gives_up_the_place(slow):
    service, server = slow
    with stream(server) as one, stream(server) as two:
        lines = one.iter_lines(), two.iter_lines()
        assert all(next(each) for each in lines)
        connection = send(server)
        until(lambda: service.told("queued") == 1)
        asked = len(service.requests())
        connection.close()
        until(lambda: service.told("queued") == 0)
        assert service.engine()["running"] == 2
        assert len(service.requests()) == asked
    until(lambda: idle(service))


def test_whoever_leaves_while_a_model_loads_does_not_abort_the_load(behind):
    with behind(Script(startup=1.5)) as (service, server):
        connection = send(server)
        until(lambda: (service.engine() or {}).get("state") == "loading")
        connection.close()
        until(lambda: (service.engine() or {}).get("state") == "ready")
        until(lambda: idle(service))
        assert service.requests() == []


def send(server, body=None, path="/api/generate", length=None):
    """Send a request on a connection of its own and return that, the answer unread."""
    body = json.dumps(body or {"model": "tiny", "prompt": "x"}).encode()
    url = httpx.URL(server.door)
    connection = socket.create_connection((url.host, url.port))
    target = url.raw_path.decode() + path
    connection.sendall(
        f"POST {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Length: {length or len(body)}\r\n\r\n".encode()
        + body
    )
    return connection


def test_whoever_leaves_in_the_middle_of_a_body_leaves_nothing(slow):
    _, server = slow
    connection = send(server, length=10_000)
    until(lambda: server.metric("hyperllama_door_open_requests") == 1)
    connection.close()
    until(lambda: server.metric("hyperllama_door_open_requests") == 0)


def test_a_client_that_does_not_read_holds_the_engine_back(behind):
    text = "x" * 10_000
    with behind(Script(pieces=[text], repeat=10**5)) as (service, server):
        connection = send(server)
        connection.recv(100)
        settled = [0, -1]

        def still():
            settled.append(service.requests()[-1]["sent"] if service.requests() else 0)
            time.sleep(0.5)
            return settled[-1] == settled[-2] > 0

        until(still)
        assert settled[-1] < 10_000  # 100 MB: it has stopped far before the end
        connection.close()
        until(lambda: idle(service))


def test_many_streams_at_once_stay_apart(behind):
    script = Script(pieces=["a", "b", "c"], repeat=20, delay=0.01)
    with behind(script, slots=64) as (service, server):
        server.ask("POST", "/api/generate", json={"model": "tiny"})
        limits = httpx.Limits(max_connections=64)
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(timeout=PATIENCE, limits=limits, headers=bearer) as client:

            def one(number):
                body = {"model": "tiny", "prompt": f"Number {number}"}
                with client.stream("POST", f"{server.door}/api/generate", json=body) as response:
                    lines = [json.loads(line) for line in response.iter_lines()]
                assert lines[-1]["done"]
                return "".join(line["response"] for line in lines)

            with ThreadPoolExecutor(64) as pool:
                texts = list(pool.map(one, range(64)))
        assert texts == ["abc" * 20] * 64
        until(lambda: idle(service))
        assert server.metric("hyperllama_door_open_requests") == 0
        until(lambda: len(psutil.Process(server.process.pid).net_connections("unix")) < 20)


@pytest.mark.compat(
    "POST /api/generate", "a service that dies in the middle, through the Jupyter server", "better",
    "a last line with the error; the connection broke",
)  # fmt: skip
def test_a_service_that_dies_in_the_middle_is_told_in_a_last_line(behind):
    with behind(SLOW) as (service, server):
        with stream(server) as native, stream(server, "/v1/completions", stream=True) as openai:
            lines, events = native.iter_lines(), openai.iter_lines()
            next(lines), next(events)
            service.process.kill()
            *_, last = lines
            assert "hyperllama logs" in json.loads(last)["error"]
            *_, event = [line for line in events if line]
            assert "hyperllama logs" in json.loads(event.removeprefix("data: "))["error"]["message"]
        service.process.join()


def test_a_service_that_dies_before_its_answer_is_a_503(behind):
    with behind(Script(delay_first=300.0, warmup=1)) as (service, server):
        with ThreadPoolExecutor(1) as pool:
            body = {"model": "tiny", "prompt": "x"}
            answer = pool.submit(server.ask, "POST", "/api/generate", json=body)
            until(lambda: (service.engine() or {}).get("running") == 1)
            service.process.kill()
            service.process.join()
        found = answer.result(PATIENCE)
        assert found.status_code == 503
        assert "hyperllama logs" in found.json()["error"]


def last_activity(server):
    return datetime.fromisoformat(server.status()["last_activity"])


def test_polls_do_not_keep_the_server_awake_and_work_does(slow):
    _, server = slow
    before = last_activity(server)
    for path in ("/", "/api/tags", "/api/ps", "/api/version"):
        assert server.ask("GET", path).status_code == 200
    assert last_activity(server) == before
    body = {"model": "tiny", "prompt": "x", "stream": False, "options": {"num_predict": 2}}
    assert server.ask("POST", "/api/generate", json=body).status_code == 200
    assert last_activity(server) > before


def test_requests_are_counted_by_route_and_status(slow):
    _, server = slow

    def counted(code):
        name = "hyperllama_door_requests_total"
        return server.metric(f'{name}{{code="{code}",route="/api/show"}}')

    before = [counted(code) for code in (200, 404, 401)]
    server.ask("POST", "/api/show", json={"model": "tiny"})
    server.ask("POST", "/api/show", json={"model": "nobody"})
    server.client.post(f"{server.door}/api/show", json={"model": "tiny"})
    assert [counted(code) for code in (200, 404, 401)] == [number + 1 for number in before]


def test_other_requests_of_the_server_are_answered_while_one_streams(slow):
    _, server = slow
    slowest = 0.0
    with stream(server) as response:
        lines = response.iter_lines()
        reader = threading.Thread(target=lambda: [next(lines) for _ in range(50)])
        reader.start()
        while reader.is_alive():
            begin = time.monotonic()
            server.status()
            slowest = max(slowest, time.monotonic() - begin)
        reader.join()
    assert slowest < 5


def test_a_second_model_is_found_by_its_slashes(slow):
    service, server = slow
    install_tiny(service.store, "hf.co/org/repo:q4")
    found = server.ask("GET", "/v1/models/hf.co%2Forg%2Frepo:q4")
    assert found.status_code == 200
    assert server.ask("GET", "/v1/models/hf.co/org/repo:q4").json() == found.json()
