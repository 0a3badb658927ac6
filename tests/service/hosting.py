"""Services on FakeEngines, in a process of their own and in a thread of this one."""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from hyperllama_nb.models import Store
from hyperllama_nb.service.host import start_in_thread
from hyperllama_nb.testing import FakeBackend, Script, install_tiny, requests_of

PATIENCE = 60.0
"""Seconds that a test waits for what takes well under one."""

PLAIN = (Script(),)

PROCESS = """
import json, sys
from hyperllama_nb.service import service
from hyperllama_nb.service.host import main
from hyperllama_nb.testing import FakeBackend, Script
service.FIRST_CALL = 1.0
scripts = [Script.from_json(text) for text in json.loads(sys.argv[1])]
sys.exit(main({"fake": FakeBackend(scripts, slots=int(sys.argv[2]))}))
"""


def until(condition, patience=PATIENCE):
    """Wait for a condition and return its value."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)
    return value


@dataclass
class Running:
    """A running service and the usual ways to ask it."""

    client: httpx.Client
    socket: Path
    store: Store
    process: subprocess.Popen | None = None
    pids: set[int] = field(default_factory=set)

    def status(self):
        return self.client.get("/admin/status").json()

    def engine(self, model="tiny:latest"):
        """Return the engine's line of the status, or None."""
        return next((e for e in self.status()["engines"] if e["model"] == model), None)

    def requests(self, model="tiny:latest"):
        """Return what the model's engine was asked, the probe of its start excepted."""
        engine = self.engine(model)
        return requests_of(Path(engine["socket"]))[1:] if engine else []

    def generate(self, prompt="Hi", model="tiny", **fields):
        """Return the whole answer to a prompt."""
        body = {"model": model, "prompt": prompt, "stream": False, **fields}
        return self.client.post("/api/generate", json=body)

    def lines(self, path="/api/generate", headers=None, **body):
        """Return the status and the objects of a streamed answer."""
        with self.client.stream("POST", path, json=body, headers=headers) as response:
            data = response.read()
        return response.status_code, [json.loads(line) for line in data.split(b"\n")[:-1]]

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
def hosting(kind, scripts=PLAIN, *, slots=4, env=None):
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
        socket = runtime / "service.sock"
        process = None
        if kind == "process":
            texts = json.dumps([script.to_json() for script in scripts])
            log = stack.enter_context((runtime / "service.log").open("w"))
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", PROCESS, texts, str(slots)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            stack.callback(end, process)
            until(socket.exists)
        else:
            host = start_in_thread(backends={"fake": FakeBackend(scripts, slots=slots)})
            stack.callback(host.stop)
        transport = httpx.HTTPTransport(uds=str(socket))
        client = stack.enter_context(
            httpx.Client(transport=transport, base_url="http://service", timeout=PATIENCE)
        )
        yield Running(client, socket, store, process)


def end(process):
    """End the service as a user's `kill` would, and wait for it, unless the test did."""
    if process.poll() is not None:
        return
    process.terminate()
    assert process.wait(PATIENCE) == 0
