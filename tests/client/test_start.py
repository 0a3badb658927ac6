"""Starting the real service, attaching to it, and what can go wrong."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hyperllama_nb import runtime
from hyperllama_nb.client import Client, _start
from hyperllama_nb.errors import ProtocolMismatchError, ServiceError
from tests.client.fakeservice import FakeService, words

STATUS = (
    "import json, hyperllama_nb as hl; print(json.dumps(hl.Client().status()['pid']), flush=True);"
    "input()"
)

pytestmark = pytest.mark.slow


def ended(pid):
    for _ in range(1500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def stopped():
    yield
    for attempt in range(2):
        try:
            found = Client(start=False).status()["pid"]
        except ServiceError:
            return
        os.kill(found, signal.SIGKILL if attempt else signal.SIGTERM)
        assert ended(found)


def test_two_programs_that_start_it_at_once_share_one(stopped):
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", STATUS],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    try:
        pids = {json.loads(program.stdout.readline()) for program in programs}
        assert len(pids) == 1
        status = Client().status()
        assert status["pid"] in pids
        assert status["runtime_dir"] == str(runtime.runtime_dir())
        assert sorted(lease["kind"] for lease in status["leases"]) == ["python"] * 4
    finally:
        for program in programs:
            program.communicate("\n")


def test_a_killed_service_is_started_again_by_the_next_call(stopped):
    client = Client()
    first = client.status()["pid"]
    os.kill(first, signal.SIGKILL)
    second = client.status()["pid"]
    assert second != first
    client.stop()
    third = client.status()["pid"]
    assert third not in {first, second}


def test_the_service_sees_only_what_it_may(stopped, monkeypatch):
    for name, value in {"PYTHONPATH": "/x", "SECRET_KEY": "x", "OLLAMA_KEEP_ALIVE": "1m"}.items():
        monkeypatch.setenv(name, value)
    pid = Client().status()["pid"]
    if sys.platform == "linux":
        entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
        names = {entry.partition("=")[0] for entry in entries}
        assert "OLLAMA_KEEP_ALIVE" in names
        assert not names & {"PYTHONPATH", "SECRET_KEY"}
        assert Path(f"/proc/{pid}/cwd").readlink() == runtime.runtime_dir()
        assert str(Path(f"/proc/{pid}/fd/0").readlink()) == "/dev/null"
    assert os.getsid(pid) != os.getsid(0)


def test_a_service_that_does_not_start_shows_the_end_of_its_log(monkeypatch, tmp_path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho something is missing >&2\nexit 3\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ServiceError) as told:
        Client().status()
    assert "ended with status 3" in str(told.value)
    assert str(runtime.log_path()) in str(told.value)
    assert "something is missing" in str(told.value)


def test_another_protocol_is_told_with_the_way_out():
    service = FakeService(runtime.socket_path())
    service.attach_status = 409
    with pytest.raises(ProtocolMismatchError, match=r"%llm stop.*hyperllama stop"):
        Client().version()
    service.routes["POST /admin/stop"] = lambda body: [{"status": "stopping"}]
    assert Client().stop().status == "stopping"
    service.stop()


def test_a_service_that_dies_before_the_first_byte_is_replaced_once():
    path = runtime.socket_path()
    dying = FakeService(path)
    living = []

    def die(body):
        dying.stop()
        second = FakeService(path)
        second.routes["POST /api/generate"] = lambda body: words("again")
        living.append(second)
        _start._leases[path].sock.shutdown(2)
        raise ConnectionError

    dying.routes["POST /api/generate"] = die
    assert Client().generate("m", "?").text == "again"
    assert living[0].leases == ["lease-0"]
    _start.drop(path)
    living[0].stop()


def test_threads_share_one_lease():
    service = FakeService(runtime.socket_path())
    threads = [
        threading.Thread(target=_start.lease, args=(service.path,), kwargs={"start": False})
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert service.leases == ["lease-0"]
    _start.drop(service.path)
    service.stop()


def test_max_is_the_one_beside_the_interpreter(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert _start.own_max() is None
    (tmp_path / "max").write_text("#!/bin/sh\n")
    (tmp_path / "max").chmod(0o700)
    assert _start.own_max() == str(tmp_path / "max")
    monkeypatch.setenv("HYPERLLAMA_MAX", "/opt/max")
    assert _start.own_max() == "/opt/max"
