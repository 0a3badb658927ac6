"""The door's metrics, and the service's behind them."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from hyperllama_nb import runtime
from hyperllama_nb.serverextension import metrics
from tests.serverextension.serving import serving


def relayed():
    registry = CollectorRegistry()
    registry.register(metrics.Relay())
    return generate_latest(registry).decode()


def up():
    return "hyperllama_service_up 1.0" in relayed().splitlines()


@contextmanager
def saying(*pieces, pause=0.0):
    """Answer each connection to the service's socket with these bytes."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(runtime.socket_path()))
        listener.listen()

        def answer():
            with listener.accept()[0] as connection:
                connection.recv(65536)
                for piece in pieces:
                    try:
                        connection.sendall(piece)
                    except OSError:
                        return
                    time.sleep(pause)

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        thread.join()


def test_the_services_families_arrive_as_they_were_told():
    own = CollectorRegistry()
    Counter("hyperllama_tokens", "Tokens.", ["model", "kind"], registry=own).labels(
        'a"b\\c\nd', "output"
    ).inc(7)
    Gauge("hyperllama_queue_depth", "Waiting.", ["model"], registry=own).labels("tiny").set(2)
    Histogram("hyperllama_ttft_seconds", "First token.", registry=own).observe(0.3)
    told = generate_latest(own).decode()
    with serving({"/metrics": lambda request: web.Response(text=told)}):
        found = relayed()
    # the order of a histogram's families may differ
    assert set(told.splitlines()) <= set(found.splitlines())
    assert "hyperllama_service_up 1.0" in found


def test_what_jupyter_tells_of_itself_is_not_told_twice():
    own = CollectorRegistry()
    Gauge("process_open_fds", "Of the service.", registry=own)
    Gauge("hyperllama_door_open_requests", "Not its own.", registry=own)
    Gauge("hyperllama_engines", "Its own.", registry=own)
    told = generate_latest(own).decode()
    with serving({"/metrics": lambda request: web.Response(text=told)}):
        found = relayed()
    assert "hyperllama_engines 0.0" in found
    assert "process_open_fds" not in found
    assert "hyperllama_door_open_requests" not in found


def test_a_scrape_starts_no_service():
    assert not up()
    assert not runtime.socket_path().exists()
    assert not runtime.lock_path().exists()


def test_a_socket_left_behind_is_no_service():
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(runtime.socket_path()))
    assert not up()


def test_a_runtime_directory_that_is_refused_breaks_nothing(monkeypatch, tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    monkeypatch.setenv("HYPERLLAMA_RUNTIME_DIR", str(tmp_path / "open"))
    assert not up()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 404 Not Found\r\n\r\nhyperllama_engines 1\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\nhyperllama_engines 1\n",
        b"HTTP/1.1 200 OK\r\n\r\nhyperllama_engines one\n",
        b"HTTP/1.1 200 OK\r\n\r\nhyperllama_engines{model=\xff} 1\n",
        b"something else",
    ],
)
def test_an_answer_that_is_none_breaks_nothing(answer):
    with saying(answer):
        found = relayed()
    assert "hyperllama_service_up 0.0" in found
    assert "hyperllama_engines" not in found


def test_the_same_answer_whole_is_taken():
    with saying(b"HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\nhyperllama_engines 1\n"):
        assert "hyperllama_engines 1.0" in relayed()


def test_a_service_that_takes_its_time_is_left():
    # each piece comes well within the time for one read, the whole answer after ten seconds
    drip = [b"HTTP/1.1 200 OK\r\n\r\nhyperllama_engines 1\n", *[b"# still here\n"] * 1000]
    with saying(*drip, pause=0.01):
        assert not up()


def test_an_answer_beyond_measure_is_left(monkeypatch):
    monkeypatch.setattr(metrics, "LARGEST_ANSWER", 1000)
    monkeypatch.setattr(metrics, "PATIENCE", 30.0)
    with saying(b"HTTP/1.1 200 OK\r\n\r\n" + b"hyperllama_engines 1\n" * 100):
        assert not up()


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("", "/"),
        ("/", "/"),
        ("/api/chat", "/api/chat"),
        ("/api/chat/", "/api/chat"),
        ("/v1/models", "/v1/models"),
        ("/v1/models/hf.co/org/repo:Q4", "/v1/models/{name}"),
        ("/api/blobs/sha256:" + "0" * 64, "/api/blobs/{digest}"),
        ("/admin/keys", "other"),
        ("/api/../etc/passwd", "other"),
    ],
)
def test_labels_are_bounded_whatever_is_asked_for(path, route):
    assert metrics.route_of(path) == route


def test_an_answered_request_is_counted_by_route_and_code():
    def counted():
        found = metrics.REQUESTS.labels("/v1/models/{name}", "403")
        return found._value.get(), metrics.SECONDS.labels("/v1/models/{name}")._sum.get()

    number, seconds = counted()
    metrics.answered("/v1/models/a/b", 403, 1.5)
    assert counted() == (number + 1, seconds + 1.5)
