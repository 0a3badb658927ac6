"""The end of the service, wanted or not."""

import signal
import time
from contextlib import contextmanager

import psutil
import pytest

from hyperllama_nb.errors import ConflictError
from hyperllama_nb.service.host import start_in_thread
from hyperllama_nb.testing import FakeBackend, Script
from tests.service.hosting import ANSWER, SLOW, exit_of, hosting, open_stream, until


@pytest.mark.slow
def test_a_service_that_nobody_needs_exits():
    with hosting("process", env={"HYPERLLAMA_LINGER": "1"}) as service:
        service.generate(keep_alive=-1)
        pid = service.engine()["pid"]
        assert exit_of(service.process) == 0
        assert not service.socket.exists()
        assert not psutil.pid_exists(pid)


def test_a_lease_keeps_the_service():
    with hosting("process", env={"HYPERLLAMA_LINGER": "0"}) as service:
        with service.lease():
            time.sleep(2)
            assert service.process.is_alive()
        assert exit_of(service.process) == 0


def test_stop_waits_for_streams_and_ends_everything(host):
    with host([Script(delay=0.1)]) as service:
        with open_stream(service) as stream:
            pid = service.engine()["pid"]
            answer = service.client.post("/admin/stop", json={"wait": True})
            assert answer.json() == {"status": "stopping"}
            assert stream.rest()[-1]["done"]
        until(lambda: not service.socket.exists())
        until(lambda: not psutil.pid_exists(pid))


def test_stop_without_waiting_ends_streams_with_an_error(host):
    with host([SLOW]) as service:
        with open_stream(service) as stream:
            service.client.post("/admin/stop", json={"wait": False})
            last = stream.rest()[-1]
            assert "error" in last
        until(lambda: not service.socket.exists())


def test_a_second_service_leaves_the_first_alone(host):
    with host() as service:
        with pytest.raises(ConflictError, match="stop"):
            start_in_thread(backends={})
        assert service.generate().json()["response"] == ANSWER


def test_a_service_that_was_killed_leaves_no_engine_and_its_successor_works():
    with hosting("process") as service:
        service.generate()
        pid = service.engine()["pid"]
        service.process.kill()
        assert exit_of(service.process) == -signal.SIGKILL
        until(lambda: not psutil.pid_exists(pid))
        assert service.socket.exists()
        with start_in_thread_and_stop({"fake": FakeBackend()}):
            assert service.generate().json()["response"] == ANSWER


@contextmanager
def start_in_thread_and_stop(backends):
    host = start_in_thread(backends=backends)
    try:
        yield
    finally:
        host.stop()
