"""Services on FakeEngines, in a process of their own and in a thread of this one."""

import json
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from hyperllama_nb.engines import process
from hyperllama_nb.models import Store
from hyperllama_nb.service import running, service
from hyperllama_nb.service.host import main, start_in_thread
from hyperllama_nb.testing import FakeBackend, Script, install_tiny, requests_of

SLOW = Script(pieces=["x"], repeat=10**6, delay=0.01)
"""Text that does not end, a piece each 10 ms."""

PATIENCE = 60.0
"""Seconds that a test waits for what takes well under one."""

PLAIN = (Script(),)

ANSWER = "".join(PLAIN[0].pieces)

FORK = multiprocessing.get_context("forkserver")
"""Starts services from a process that has already imported what they need."""

FORK.set_forkserver_preload(["tests.service.hosting"])


def serve(env, scripts, slots, log, able):
    """Run a service in this process, which is its own."""
    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    output = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    service.FIRST_CALL = 1.0
    hasten()
    sys.exit(main({"fake": FakeBackend(scripts, slots=slots, able=able)}))


def hasten():
    """Shorten the wait for the exit of an engine that reported an error and lives on."""
    running.DEATH_NOTICE = process.DEATH_NOTICE = 0.3


def until(condition, patience=PATIENCE):
    """Wait for a condition and return its value."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)
    return value


def listens(path):
    """Tell whether somebody takes connections at a Unix socket; its file is there before that."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@dataclass
class Running:
    """A running service and the usual ways to ask it."""

    client: httpx.Client
    socket: Path
    store: Store
    process: Any = None

    def status(self):
        return self.client.get("/admin/status").json()

    def engine(self, model="tiny:latest"):
        """Return the engine's line of the status, or None."""
        return next((e for e in self.status()["engines"] if e["model"] == model), None)

    def told(self, field, model="tiny:latest"):
        """Return a field of the engine's line; None while there is no engine."""
        return (self.engine(model) or {}).get(field)

    def requests(self, model="tiny:latest"):
        """Return what the model's engine was asked, the probe of its start excepted."""
        engine = self.engine(model)
        return requests_of(Path(engine["socket"]))[1:] if engine else []

    def generate(self, prompt="Hi", model="tiny", **fields):
        """Return the whole answer to a prompt."""
        body = {"model": model, "prompt": prompt, "stream": False, **fields}
        return self.client.post("/api/generate", json=body)

    def lines(self, path="/api/generate", headers=None, **body):
        """Return the status and the objects of an answer that may be streamed."""
        with self.client.stream("POST", path, json=body, headers=headers) as response:
            data = response.read()
        return response.status_code, [json.loads(line) for line in data.split(b"\n") if line]

    @contextmanager
    def lease(self, kind="python"):
        """Hold a lease for the duration of the block; gives its id."""
        body = {"protocol": 1, "version": "0", "kind": kind, "pid": os.getpid()}
        with (
            httpx.Client(transport=httpx.HTTPTransport(uds=str(self.socket)), timeout=None) as own,
            own.stream("POST", "http://service/admin/attach", json=body) as response,
        ):
            lines = response.iter_lines()  # to drop the iterator is to close the connection
            yield json.loads(next(lines))["lease"]


@contextmanager
def hosting(kind, scripts=PLAIN, *, slots=4, env=None, able=frozenset(), compiling=None):
    """Run a service with the tiny model for the duration of the block."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hs", dir="/tmp")))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        runtime = place / "r"
        runtime.mkdir(mode=0o700)
        patch.setenv("HYPERLLAMA_RUNTIME_DIR", str(runtime))
        patch.setenv("HYPERLLAMA_MODELS", str(place / "models"))
        patch.setenv("HYPERLLAMA_CACHE", str(place / "cache"))
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        store = Store(place / "models")
        install_tiny(store)
        path = runtime / "service.sock"
        child = None
        if kind == "process":
            log = str(runtime / "service.log")
            child = FORK.Process(target=serve, args=(dict(os.environ), scripts, slots, log, able))
            child.start()
            stack.callback(end, child)
            until(lambda: listens(path))
        else:
            hasten()
            backend = FakeBackend(scripts, slots=slots, able=able, compiling=compiling)
            host = start_in_thread(backends={"fake": backend})
            stack.callback(host.stop)
        transport = httpx.HTTPTransport(uds=str(path))
        client = stack.enter_context(
            httpx.Client(transport=transport, base_url="http://service", timeout=PATIENCE)
        )
        yield Running(client, path, store, child)


def end(child):
    """End the service as a user's `kill` would, and wait for it, unless the test did."""
    if child.exitcode is None:
        child.terminate()
        assert exit_of(child) == 0


def exit_of(child):
    """Wait for a service's process and return its exit status."""
    child.join(PATIENCE)
    return child.exitcode


def error_of(response):
    """Return the error of a JSON answer, which has nothing else but its code."""
    assert response.headers["content-type"].startswith("application/json")
    body = response.json()
    assert body.keys() == {"error", "code"}
    return body["error"]


def open_stream(service, **fields):
    """Begin a stream; leaving the block closes the connection."""
    body = {"model": "tiny", "prompt": "x", **fields}
    return Stream(service, body)


class Stream:
    def __init__(self, service, body):
        self._context = service.client.stream("POST", "/api/generate", json=body)

    def __enter__(self):
        self._lines = self._context.__enter__().iter_lines()
        self.first = json.loads(next(self._lines))
        return self

    def rest(self):
        return [json.loads(line) for line in self._lines]

    def __exit__(self, *error):
        return self._context.__exit__(*error)
