"""Clients that leave, at each stage, on both hosts: nothing of theirs stays behind."""

import socket
import time
from contextlib import contextmanager

import httpx
import psutil
import pytest

from hyperllama_nb.testing import Script
from tests.service.hosting import ANSWER, SLOW, open_stream, until

pytestmark = pytest.mark.slow


ROUTES = {
    "generate": ("/api/generate", {"model": "tiny", "prompt": "x"}),
    "generate whole": ("/api/generate", {"model": "tiny", "prompt": "x", "stream": False}),
    "chat": ("/api/chat", {"model": "tiny", "messages": [{"role": "user", "content": "x"}]}),
    "openai": (
        "/v1/chat/completions",
        {"model": "tiny", "messages": [{"role": "user", "content": "x"}], "stream": True},
    ),
    "openai whole": (
        "/v1/chat/completions",
        {"model": "tiny", "messages": [{"role": "user", "content": "x"}]},
    ),
}

EACH = pytest.mark.parametrize("route", ROUTES)

FREED = "frees its slot in the engine at once"


class Asking:
    """A request on a connection of its own, which a test closes when it likes."""

    def __init__(self, service, route):
        path, body = ROUTES[route]
        self.request = httpx.Request("POST", f"http://service{path}", json=body)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(service.socket))
        lines = [f"POST {path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.request.headers.items()]
        head = "\r\n".join(lines) + "\r\n\r\n"
        self.socket.sendall(head.encode() + self.request.content)

    def wait_for_text(self):
        """Wait until the answer has begun."""
        self.socket.settimeout(30)
        assert b" 200 " in self.socket.recv(65536)

    def leave(self):
        self.socket.close()


@contextmanager
def nothing_left(service):
    """Check that tasks, descriptors, slots and queues are as before once the block is over."""

    def state():
        status = service.status()
        engines = status["engines"]
        return {
            "tasks": status["tasks"],
            "descriptors": psutil.Process(status["pid"]).num_fds(),
            "running": sum(engine["running"] for engine in engines),
            "queued": sum(engine["queued"] for engine in engines),
        }

    def settled():
        # The connection of the tests themselves is there from the first look on.
        state()
        return state()

    before = settled()
    yield
    until(lambda: all(count <= before[name] for name, count in state().items()))


@EACH
def test_while_the_model_loads(host, route):
    with host([Script(startup=1.5)]) as service:
        service.status()
        asking = Asking(service, route)
        until(lambda: (service.engine() or {}).get("state") == "loading")
        asking.leave()
        # The load goes on without anybody.
        until(lambda: service.told("state") == "ready")
        assert service.requests() == []
        with nothing_left(service):
            assert service.generate().json()["response"] == ANSWER


@EACH
@pytest.mark.compat("POST /api/generate", "a client that leaves the queue", "same")
def test_while_it_waits_for_a_slot(host, route):
    with host([SLOW], slots=1) as service, open_stream(service), nothing_left(service):
        asking = Asking(service, route)
        until(lambda: service.told("queued") == 1)
        asking.leave()
        until(lambda: service.told("queued") == 0)
        assert len(service.requests()) == 1


@EACH
@pytest.mark.compat("POST /api/generate", "a client that leaves before the first token", "same")
def test_before_the_first_token(host, route):
    with host([Script(delay_first=60)], slots=1) as service:
        service.lines("/admin/load", model="tiny")
        with nothing_left(service):
            asking = Asking(service, route)
            until(lambda: service.told("running") == 1)
            until(lambda: len(service.requests()) == 1)
            asking.leave()
            until(lambda: service.told("running") == 0)
            until(lambda: service.requests()[0]["cancelled_at"] == 0)


@EACH
@pytest.mark.compat("POST /api/generate", "a client that leaves in the middle", "same", FREED)
def test_in_the_middle(host, route):
    with host([SLOW], slots=1) as service:
        service.lines("/admin/load", model="tiny")
        with nothing_left(service):
            asking = Asking(service, route)
            if "whole" in route:
                until(lambda: service.requests() and service.requests()[0]["sent"] > 3)
            else:
                asking.wait_for_text()
            asking.leave()
            until(lambda: service.told("running") == 0)
            until(lambda: service.requests()[0]["cancelled_at"])


def test_many_at_once(host):
    with host([Script(pieces=["x"], repeat=10**6, delay=0.005)], slots=4) as service:
        service.lines("/admin/load", model="tiny")
        with nothing_left(service):
            asking = [Asking(service, route) for route in ROUTES for _ in range(8)]
            until(lambda: service.told("queued") == len(asking) - 4)
            for one in asking:
                one.leave()
                time.sleep(0.002)
        (engine,) = service.status()["engines"]
        assert (engine["running"], engine["queued"]) == (0, 0)
