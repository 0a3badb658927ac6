"""Several models, and room for one: who waits, who makes room, and who does not wait for ever."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from hyperllama_nb.service import room
from hyperllama_nb.testing import Script, install_tiny
from tests.service.hosting import ANSWER, PATIENCE, SLOW, open_stream, until

ONE = {"OLLAMA_MAX_LOADED_MODELS": "1"}

PROGRESS = {"X-HyperLlama-Progress": "1"}


def test_a_model_that_waits_for_room_says_so_and_can_be_given_up(host):
    with host([SLOW], env=ONE) as service:
        install_tiny(service.store, "other", system="O")
        with open_stream(service):
            with pytest.raises(httpx.ReadTimeout):
                service.client.post("/api/generate", json={"model": "other"}, timeout=0.5)
            waiting = service.engine("other:latest")
            assert (waiting["state"], waiting["phase"]) == ("loading", "wait")
            assert "OLLAMA_MAX_LOADED_MODELS" in waiting["message"]
            answer = service.client.post("/admin/unload", json={"model": "other"})
            assert answer.json() == {"status": "unloaded"}
            assert service.engine("other:latest") is None
            assert service.engine()["state"] == "ready"


@pytest.mark.compat("POST /api/generate", "a model in use is never evicted", "same")
def test_a_model_in_use_is_waited_for(host):
    with host([SLOW], env=ONE) as service, ThreadPoolExecutor(1) as pool:
        install_tiny(service.store, "other", system="O")
        with open_stream(service) as stream:
            other = pool.submit(service.generate, model="other", options={"num_predict": 1})
            until(lambda: service.engine("other:latest"))
            assert stream.first["response"] == "x"
            assert not other.done()
        assert other.result(PATIENCE).json()["response"] == "x"
        assert service.engine() is None


def test_the_loaded_models_answer_as_before_while_another_waits(thread):
    with thread([SLOW], env={"OLLAMA_MAX_LOADED_MODELS": "2"}) as service:
        for name in ("b", "c"):
            install_tiny(service.store, name, system=name)
        with open_stream(service), open_stream(service, model="b") as second:
            with pytest.raises(httpx.ReadTimeout):
                service.client.post("/api/generate", json={"model": "c"}, timeout=0.3)
            # The loaded ones answer as before while c waits.
            for model in ("tiny", "b"):
                answer = service.generate(model=model, options={"num_predict": 1})
                assert answer.json()["response"] == "x"
            assert second.first["response"] == "x"
        until(lambda: service.told("state", "c:latest") == "ready")


@pytest.mark.slow
@pytest.mark.compat(
    "POST /api/generate",
    "a model that waits for one in constant use",
    "better",
    "after ten seconds new requests to the other one wait until it is its turn again",
)
def test_a_model_does_not_wait_for_ever_for_one_in_constant_use(thread, monkeypatch):
    monkeypatch.setattr(room, "TURN", 0.5)
    script = Script(pieces=["x"], repeat=30, delay=0.01)
    with thread([script], slots=8, env=ONE) as service, ThreadPoolExecutor(4) as pool:
        install_tiny(service.store, "other", system="O")
        over = threading.Event()
        answers = []

        def keep_busy():
            while not over.is_set():
                answers.append(service.generate())

        busy = [pool.submit(keep_busy) for _ in range(3)]
        until(lambda: len(answers) > 3)
        assert service.generate(model="other").json()["response"] == "x" * 30
        # And the first comes back, too.
        count = len(answers)
        until(lambda: len(answers) > count + 3)
        over.set()
        for one in busy:
            one.result(PATIENCE)
        assert {answer.status_code for answer in answers} == {200}


def test_a_request_that_waits_for_its_model_to_be_replaced_is_never_silent(thread, monkeypatch):
    monkeypatch.setattr("hyperllama_nb.service.manager.PROGRESS_INTERVAL", 0.1)
    with thread([SLOW]) as service, ThreadPoolExecutor(1) as pool:
        with open_stream(service):
            body = {"model": "tiny", "prompt": "x", "options": {"num_ctx": 8000, "num_predict": 1}}
            wide = pool.submit(service.lines, headers=PROGRESS, **body)
            time.sleep(1)
        status, lines = wide.result(PATIENCE)
        assert status == 200
        waits = [line for line in lines if line.get("phase") == "wait"]
        assert len(waits) > 2
        assert "have ended" in waits[0]["message"]
        assert lines[-1]["done"]


def test_64_streams_at_once_each_get_their_own_text(host):
    script = Script(pieces=["a", "b"], repeat=20, delay=0.005)
    with host([script], slots=64) as service, ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda _: service.lines(model="tiny", prompt="x"), range(64)))
        for status, lines in answers:
            assert status == 200
            assert "".join(line["response"] for line in lines) == "ab" * 20
            assert lines[-1]["done"]
        assert service.engine()["requests"] == 64
        assert (service.engine()["running"], service.engine()["queued"]) == (0, 0)


def test_unloading_does_not_count_up_tasks(thread):
    with thread([SLOW]) as service:
        with open_stream(service):
            before = service.status()["tasks"]
            for _ in range(50):
                answer = service.generate(prompt="", keep_alive=0)
                assert answer.json()["done_reason"] == "unload"
            assert service.status()["tasks"] <= before
            assert service.engine()["state"] == "ready"
        until(lambda: service.engine() is None)


def test_a_new_keep_alive_overrules_an_unload_that_waits(thread):
    with thread([SLOW]) as service:
        with open_stream(service):
            service.generate(prompt="", keep_alive=0)
            service.generate(options={"num_predict": 1}, keep_alive=60)
        until(lambda: service.told("running") == 0)
        time.sleep(0.3)
        assert service.engine()["state"] == "ready"


@pytest.mark.slow
def test_a_request_that_comes_while_its_engine_ends_gets_a_new_one(thread):
    with thread([Script(stubborn=True), Script()]) as service, ThreadPoolExecutor(1) as pool:
        service.generate()
        pid = service.engine()["pid"]
        ending = pool.submit(service.client.post, "/admin/unload", json={"model": "tiny"})
        until(lambda: service.told("state") == "stopping")
        assert service.generate().json()["response"] == ANSWER
        assert service.engine()["pid"] != pid
        assert ending.result(PATIENCE).status_code == 200


def test_the_service_ends_while_one_model_loads_and_another_waits(host):
    with host([Script(startup=60)], env=ONE) as service:
        install_tiny(service.store, "other", system="O")
        for model in ("tiny", "other"):
            with pytest.raises(httpx.ReadTimeout):
                service.client.post("/api/generate", json={"model": model}, timeout=0.3)
        assert len(service.status()["engines"]) == 2
        service.client.post("/admin/stop", json={"wait": False})
        until(lambda: not service.socket.exists())
