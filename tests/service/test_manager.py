"""The life of engines: keeping alive, leases, loading, several models."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from hyperllama_nb.testing import Script, install_tiny
from tests.service.hosting import ANSWER, PATIENCE, until

SHORT = 0.3
"""Seconds of `keep_alive` after which a model must go."""


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
        until(lambda: service.told("leases") == 1)
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
        until(lambda: service.told("state") == "ready")


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
        assert response.json()["code"] == "load_timeout"
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
        pid = until(lambda: service.told("pid"))
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
