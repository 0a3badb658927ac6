"""The life of engines and of the service: loading, leases, expiry, queues, deaths, the end."""

import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import psutil
import pytest

from hyperllama_nb.errors import ConflictError
from hyperllama_nb.service.host import start_in_thread
from hyperllama_nb.testing import FakeBackend, Script, install_tiny
from tests.service.hosting import PATIENCE, exit_of, hosting, until

ANSWER = "The capital of France is Paris."
SLOW = Script(pieces=["x"], repeat=10**6, delay=0.01)
SHORT = 0.3
"""Seconds of `keep_alive` after which a model must go."""


@pytest.fixture(autouse=True)
def own_place():
    """Leave the place to the services, which each have their own."""


def gone(service, model="tiny:latest"):
    return until(lambda: service.engine(model) is None)


# Keeping alive


def test_a_model_goes_after_its_keep_alive(host):
    with host() as service:
        service.generate(keep_alive=SHORT)
        pid = service.engine()["pid"]
        gone(service)
        assert not psutil.pid_exists(pid)
        assert service.generate().json()["response"] == ANSWER


def test_the_value_of_a_request_sticks_and_minus_one_is_for_ever(host):
    with host() as service:
        service.generate(keep_alive=-1)
        service.generate()
        (model,) = service.client.get("/api/ps").json()["models"]
        assert int(model["expires_at"][:4]) > 2300
        assert service.engine()["expires_at"] is None
        service.generate(keep_alive=SHORT)
        gone(service)


def test_keep_alive_zero_unloads_after_the_answer(host):
    with host() as service:
        assert service.generate(keep_alive=0).json()["response"] == ANSWER
        gone(service)


def test_the_default_comes_from_the_environment(thread):
    with thread(env={"OLLAMA_KEEP_ALIVE": str(SHORT) + "s"}) as service:
        service.generate()
        gone(service)


def test_a_request_that_runs_keeps_its_model(thread):
    with thread([Script(delay=0.05)]) as service:
        assert service.generate(keep_alive=0.01).json()["response"] == ANSWER


# Leases


def test_a_lease_keeps_a_model_and_its_end_lets_keep_alive_count(host):
    with host() as service:
        with service.lease() as lease:
            service.generate(keep_alive=SHORT, model="tiny")
            headers = {"X-HyperLlama-Lease": lease}
            service.client.post(
                "/api/generate", json={"model": "tiny", "prompt": "x"}, headers=headers
            )
            assert service.status()["leases"][0]["models"] == ["tiny:latest"]
            time.sleep(3 * SHORT)
            assert service.engine()["leases"] == 1
        gone(service)
        assert service.status()["leases"] == []


def test_keep_alive_zero_ends_the_callers_own_lease(host):
    with host() as service, service.lease() as lease:
        headers = {"X-HyperLlama-Lease": lease}
        body = {"model": "tiny", "prompt": "x", "stream": False, "keep_alive": 0}
        service.client.post("/api/generate", json=body, headers=headers)
        gone(service)


def test_an_unknown_lease_holds_nothing(thread):
    with thread() as service:
        service.client.post(
            "/api/generate",
            json={"model": "tiny", "prompt": "x", "keep_alive": SHORT},
            headers={"X-HyperLlama-Lease": "nobody"},
        )
        gone(service)


def test_two_leases_hold_independently(thread):
    with thread() as service, service.lease() as first:
        with service.lease() as second:
            for lease in (first, second):
                service.lines(
                    "/admin/load",
                    headers={"X-HyperLlama-Lease": lease},
                    model="tiny",
                    keep_alive=SHORT,
                )
            assert service.engine()["leases"] == 2
        until(lambda: service.engine()["leases"] == 1)
        time.sleep(2 * SHORT)
        assert service.engine()["state"] == "ready"


# Loading


def test_callers_share_one_load(host):
    with host([Script(startup=0.3)]) as service, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: service.generate(), range(8)))
        assert {answer.json()["response"] for answer in answers} == {ANSWER}
        assert service.engine()["requests"] == 8


def test_a_caller_who_leaves_does_not_abort_the_load(host):
    with host([Script(startup=1.0)]) as service:
        with pytest.raises(httpx.ReadTimeout):
            service.client.post("/api/generate", json={"model": "tiny"}, timeout=0.3)
        assert service.engine()["state"] == "loading"
        until(lambda: service.engine()["state"] == "ready")


def test_a_start_that_fails_is_told_with_the_log(host):
    script = Script(crash=3, log=["ERROR: no such weights"])
    with host([script, Script()]) as service:
        response = service.generate()
        assert response.status_code == 500
        assert response.json()["code"] == "engine_start"
        assert "no such weights" in response.json()["error"]
        # The next request starts anew.
        assert service.generate().json()["response"] == ANSWER


def test_a_start_that_takes_too_long_is_ended(thread):
    with thread([Script(startup=60)], env={"OLLAMA_LOAD_TIMEOUT": "500ms"}) as service:
        response = service.generate()
        assert response.json()["code"] == "engine_start"
        assert "OLLAMA_LOAD_TIMEOUT" in response.json()["error"]


def test_an_engine_that_answers_no_completion_is_not_ready(thread):
    with thread([Script(ready=False)]) as service:
        response = service.generate()
        assert response.json()["code"] == "engine_start"


def test_a_failed_load_is_an_error_line_after_progress(thread):
    with thread([Script(crash=1, startup=0.3)]) as service:
        _, lines = service.lines(model="tiny", prompt="x", headers={"X-HyperLlama-Progress": "1"})
        assert lines[0]["status"] == "loading"
        assert lines[-1]["code"] == "engine_start"


def test_unload_ends_a_load_that_nobody_waits_for(host):
    with host([Script(startup=60)]) as service:
        with pytest.raises(httpx.ReadTimeout):
            service.client.post("/api/generate", json={"model": "tiny"}, timeout=0.2)
        pid = until(lambda: service.engine()["pid"])
        answer = service.client.post("/admin/unload", json={"model": "tiny"})
        assert answer.json() == {"status": "unloaded"}
        assert not psutil.pid_exists(pid)
        assert service.engine() is None


def test_unload_lets_those_who_wait_finish(thread):
    with thread([Script(startup=0.5)]) as service, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(service.generate)
        until(service.engine)
        service.client.post("/admin/unload", json={"model": "tiny"})
        assert waiting.result(PATIENCE).json()["response"] == ANSWER
        assert service.engine() is None


# Queues


def test_what_exceeds_the_queue_is_refused_in_ollamas_words(host):
    with host([SLOW], slots=1, env={"OLLAMA_MAX_QUEUE": "1"}) as service:
        with ThreadPoolExecutor(1) as pool, open_stream(service):
            second = pool.submit(service.generate, options={"num_predict": 1})
            until(lambda: service.engine()["queued"] == 1)
            third = service.generate()
            assert third.status_code == 503
            assert third.json()["error"] == (
                "server busy, please try again.  maximum pending requests exceeded"
            )
            assert third.json()["code"] == "busy"
        assert second.result(PATIENCE).json()["response"] == "x"


def open_stream(service, **fields):
    """Begin a stream; leaving the block closes the connection."""
    body = {"model": "tiny", "prompt": "x", **fields}
    return _Stream(service, body)


class _Stream:
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


def test_those_who_wait_are_told_their_place(thread):
    with thread([SLOW], slots=1) as service:
        seen = []

        def wait():
            body = {"model": "tiny", "prompt": "x", "options": {"num_predict": 1}}
            headers = {"X-HyperLlama-Progress": "1"}
            with service.client.stream(
                "POST", "/api/generate", json=body, headers=headers
            ) as response:
                seen.extend(json.loads(line) for line in response.iter_lines())

        with open_stream(service):
            thread = threading.Thread(target=wait)
            thread.start()
            until(lambda: service.engine()["queued"] == 1)
        thread.join(PATIENCE)
        queued = [line for line in seen if line.get("status") == "queued"]
        assert queued
        assert queued[0]["position"] == 1
        assert queued[0]["model"] == "tiny:latest"
        assert seen[-1]["done"]


def test_slots_run_together(thread):
    with thread([SLOW], slots=3) as service:
        with open_stream(service), open_stream(service), open_stream(service):
            assert service.engine()["running"] == 3
        until(lambda: service.engine()["running"] == 0)


# Leaving


def test_a_client_that_leaves_frees_its_slot_in_the_engine(host):
    with host([SLOW], slots=1) as service:
        with open_stream(service):
            assert service.engine()["running"] == 1
        (request,) = until(lambda: [r for r in service.requests() if r["cancelled_at"] is not None])
        assert 0 < request["cancelled_at"] < 10**6
        assert service.engine()["running"] == 0
        assert service.generate(options={"num_predict": 1}).json()["response"] == "x"


def test_a_client_that_leaves_before_the_first_token_frees_its_slot(host):
    with host([Script(delay_first=60)], slots=1) as service:
        service.lines("/admin/load", model="tiny")
        for path in ("/api/generate", "/api/generate"):
            with pytest.raises(httpx.ReadTimeout):
                service.client.post(
                    path, json={"model": "tiny", "prompt": "x", "stream": False}, timeout=0.3
                )
        until(lambda: [r["cancelled_at"] for r in service.requests()] == [0, 0])
        assert service.engine()["running"] == 0


def test_a_client_that_leaves_the_queue_leaves_it(host):
    with host([SLOW], slots=1) as service, open_stream(service):
        with pytest.raises(httpx.ReadTimeout):
            service.client.post("/api/generate", json={"model": "tiny", "prompt": "x"}, timeout=0.3)
        until(lambda: service.engine()["queued"] == 0)
        assert len(service.requests()) == 1


# Dying


def test_a_death_in_the_middle_ends_the_stream_with_an_error_and_the_next_request_works(host):
    with host([Script(die_after=3), Script()]) as service:
        status, lines = service.lines(model="tiny", prompt="x")
        assert status == 200
        assert [line.get("response") for line in lines[:-1]] == ["The", " capital", " of"]
        assert lines[-1].keys() == {"error", "code"}
        assert lines[-1]["code"] == "engine_died"
        assert "status 1" in lines[-1]["error"]
        assert service.generate().json()["response"] == ANSWER
        assert service.engine()["restarts"] == 1


def test_a_death_before_the_first_byte_is_a_status(host):
    with host([Script(die_after=0), Script()]) as service:
        response = service.generate()
        assert response.status_code == 500
        assert response.json()["code"] == "engine_died"
        assert service.generate().json()["response"] == ANSWER


def test_an_engine_that_dies_idle_is_replaced(host):
    with host() as service:
        service.generate()
        psutil.Process(service.engine()["pid"]).kill()
        until(lambda: service.engine()["state"] == "failed")
        assert service.generate().json()["response"] == ANSWER


def test_a_model_that_keeps_dying_is_not_started_for_ever(thread):
    with thread([Script(die_after=0)]) as service:
        errors = [service.generate().json()["error"] for _ in range(5)]
        assert "is not started for the next" in errors[-1]
        assert "is not started for the next" not in errors[0]


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        (Script(status=429), 503, "busy"),
        (Script(status=500, error="boom"), 500, "engine"),
        (Script(status=400, error="no"), 400, "bad_request"),
    ],
)
def test_what_an_engine_refuses_has_a_status(thread, script, status, code):
    with thread([script]) as service:
        response = service.generate()
        assert (response.status_code, response.json()["code"]) == (status, code)


def test_an_error_of_the_engine_in_the_middle_is_the_last_line(thread):
    with thread([Script(error_after=2, error="boom")]) as service:
        _, lines = service.lines(model="tiny", prompt="x")
        assert [line.get("response") for line in lines[:-1]] == ["The", " capital"]
        assert "boom" in lines[-1]["error"]


@pytest.mark.parametrize(
    "script",
    [
        Script(pieces=["世", "界", "👍🏽"], halves=True),
        Script(pieces=["世", "界", "👍🏽"], split=5),
        Script(pieces=["世", "界", "👍🏽"], bundle=2),
    ],
)
def test_whatever_the_engines_chunks_the_text_is_whole(thread, script):
    with thread([script]) as service:
        answer = service.generate().json()
        assert answer["response"] == "世界👍🏽"
        assert answer["eval_count"] == 3


def test_tokens_are_counted_here_where_the_engine_does_not(thread):
    with thread([Script(pieces=["ab", "c"], usage=False)]) as service:
        answer = service.generate().json()
        assert answer["eval_count"] == 3  # of the tiny model's, which are bytes
        assert answer["prompt_eval_count"] > 0


# Several models


def test_models_run_side_by_side_and_the_count_is_bounded(thread):
    with thread(env={"OLLAMA_MAX_LOADED_MODELS": "2"}) as service:
        install_tiny(service.store, "b", system="B")
        install_tiny(service.store, "c", system="C")
        service.generate(model="tiny")
        service.generate(model="b")
        assert {e["model"] for e in service.status()["engines"]} == {"tiny:latest", "b:latest"}
        # The one that has been idle longest makes room.
        service.generate(model="c")
        assert {e["model"] for e in service.status()["engines"]} == {"b:latest", "c:latest"}


def test_a_longer_context_relaunches_once(thread):
    with thread() as service:
        service.generate()
        pid = service.engine()["pid"]
        answer = service.generate(options={"num_ctx": 5000}).json()
        assert answer["hyperllama"]["context_length"] == 5000
        assert service.engine()["context_length"] == 8192
        assert service.engine()["pid"] != pid
        pid = service.engine()["pid"]
        assert service.generate(options={"num_ctx": 10**6}).json()["response"] == ANSWER
        assert service.engine()["pid"] == pid


def test_a_model_whose_bytes_changed_is_loaded_anew(thread):
    with thread() as service:
        service.generate()
        pid = service.engine()["pid"]
        install_tiny(service.store, "tiny", system="S")
        service.generate()
        assert service.engine()["pid"] != pid


# The end of the service


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
