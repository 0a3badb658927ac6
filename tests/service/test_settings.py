"""Ollama's environment variables, each of which a service obeys."""

import math
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from hyperllama_nb.errors import InvalidOptionError
from hyperllama_nb.service.admission import BUSY
from hyperllama_nb.service.config import HyperLlamaService
from hyperllama_nb.testing import Script, install_tiny
from tests.service.hosting import ANSWER, PATIENCE, SLOW, open_stream, until

ROUTE = "POST /api/generate"


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("OLLAMA_KEEP_ALIVE", "", "keep_alive", 300.0),
        ("OLLAMA_KEEP_ALIVE", "90", "keep_alive", 90.0),
        ("OLLAMA_KEEP_ALIVE", "1h30m", "keep_alive", 5400.0),
        ("OLLAMA_KEEP_ALIVE", "-1", "keep_alive", math.inf),
        ("OLLAMA_MAX_QUEUE", "", "max_queue", 512),
        ("OLLAMA_MAX_QUEUE", "7", "max_queue", 7),
        ("OLLAMA_NUM_PARALLEL", "3", "num_parallel", 3),
        ("OLLAMA_MAX_LOADED_MODELS", "2", "max_loaded_models", 2),
        ("OLLAMA_CONTEXT_LENGTH", "", "context_length", 4096),
        ("OLLAMA_CONTEXT_LENGTH", "8192", "context_length", 8192),
        ("OLLAMA_LOAD_TIMEOUT", "", "load_timeout", 900.0),
        ("OLLAMA_LOAD_TIMEOUT", "0", "load_timeout", 0.0),
        ("OLLAMA_LOAD_TIMEOUT", "-1", "load_timeout", math.inf),
    ],
)
def test_a_setting_is_read_from_ollamas_variable(monkeypatch, variable, text, name, value):
    monkeypatch.setenv(variable, text)
    assert getattr(HyperLlamaService(), name) == value


@pytest.mark.parametrize(
    ("variable", "text", "name"),
    [
        ("OLLAMA_KEEP_ALIVE", "soon", "keep_alive"),
        ("OLLAMA_MAX_QUEUE", "many", "max_queue"),
        ("OLLAMA_MAX_QUEUE", "-1", "max_queue"),
    ],
)
def test_a_wrong_setting_names_its_variable(monkeypatch, variable, text, name):
    monkeypatch.setenv(variable, text)
    with pytest.raises(InvalidOptionError, match=variable):
        getattr(HyperLlamaService(), name)


@pytest.mark.compat(ROUTE, "OLLAMA_KEEP_ALIVE", "same")
def test_keep_alive_unloads_what_was_not_used_for_so_long(thread):
    with thread(env={"OLLAMA_KEEP_ALIVE": "300ms"}) as service:
        service.generate()
        until(lambda: service.engine() is None)


@pytest.mark.compat(
    ROUTE,
    "OLLAMA_MAX_QUEUE",
    "better",
    "bounds those who wait for a loaded model, too, and for each model apart",
)
def test_max_queue_bounds_those_who_wait_for_a_loaded_model(host):
    with (
        host([SLOW], slots=2, env={"OLLAMA_MAX_QUEUE": "2"}) as service,
        ThreadPoolExecutor(2) as pool,
    ):
        with open_stream(service), open_stream(service):
            waiting = [pool.submit(service.generate, options={"num_predict": 1}) for _ in "ab"]
            until(lambda: service.told("queued") == 2)
            refused = service.generate()
            assert (refused.status_code, refused.json()["error"]) == (503, BUSY)
            install_tiny(service.store, "other", system="O")
            answer = service.generate(model="other", options={"num_predict": 1})
            assert answer.status_code == 200
        assert [one.result(PATIENCE).status_code for one in waiting] == [200, 200]


def test_max_queue_bounds_those_who_wait_for_a_load(host):
    with (
        host([Script(startup=1.5)], env={"OLLAMA_MAX_QUEUE": "3"}) as service,
        ThreadPoolExecutor(8) as pool,
    ):
        answers = list(pool.map(lambda _: service.generate(), range(8)))
        refused = [answer for answer in answers if answer.status_code != 200]
        assert len(refused) == 5
        assert {(a.status_code, a.json()["error"]) for a in refused} == {(503, BUSY)}
        # Once the model is there, as many run beside those who wait.
        assert service.generate().json()["response"] == ANSWER


def test_without_a_queue_the_first_request_still_loads_the_model(thread):
    with thread(env={"OLLAMA_MAX_QUEUE": "0"}) as service:
        assert service.generate().json()["response"] == ANSWER


@pytest.mark.compat(ROUTE, "OLLAMA_NUM_PARALLEL", "same")
def test_num_parallel_is_how_many_run_at_once(thread):
    with (
        thread([SLOW], slots=7, env={"OLLAMA_NUM_PARALLEL": "2"}) as service,
        ThreadPoolExecutor(1) as pool,
    ):
        with open_stream(service), open_stream(service):
            third = pool.submit(service.generate, options={"num_predict": 1})
            until(lambda: service.told("queued") == 1)
            assert service.engine()["running"] == service.engine()["batch_size"] == 2
        assert third.result(PATIENCE).status_code == 200


@pytest.mark.compat(
    ROUTE,
    "OLLAMA_MAX_LOADED_MODELS",
    "better",
    "the least recently used idle model makes room, and two loads at once do not wait for each "
    "other for ever",
)
def test_max_loaded_models_is_never_exceeded(host):
    with (
        host([Script(startup=0.1)], env={"OLLAMA_MAX_LOADED_MODELS": "1"}) as service,
        ThreadPoolExecutor(6) as pool,
    ):
        names = ["tiny", "b", "c"]
        for name in names[1:]:
            install_tiny(service.store, name, system=name)
        answers = [pool.submit(service.generate, model=name) for name in names * 2]
        most = 0
        while not all(answer.done() for answer in answers):
            states = [engine["state"] for engine in service.status()["engines"]]
            most = max(most, states.count("ready"))
            time.sleep(0.01)
        assert [answer.result().json()["response"] for answer in answers] == [ANSWER] * 6
        assert most <= 1


@pytest.mark.compat(ROUTE, "OLLAMA_CONTEXT_LENGTH", "same")
def test_context_length_is_that_of_a_newly_loaded_model(thread):
    with thread(env={"OLLAMA_CONTEXT_LENGTH": "2048"}) as service:
        assert service.generate().json()["hyperllama"]["context_length"] == 2048
        assert service.engine()["context_length"] == 2048


@pytest.mark.compat(
    ROUTE,
    "a series of requests with different num_ctx",
    "better",
    "less than is loaded caps the request, more relaunches once; Ollama reloads at each change",
)
def test_different_num_ctx_do_not_thrash(thread):
    with thread() as service:
        pids = []
        for context in (100, None, 3000, 4096, 6000, 100, None, 8192, 5000, 4096):
            options = {} if context is None else {"num_ctx": context}
            answer = service.generate(options=options).json()
            pids.append(service.engine()["pid"])
            assert answer["hyperllama"]["context_length"] == (context or 4096 * len(set(pids)))
        assert len(set(pids)) == 2


def test_those_who_wait_for_a_longer_context_share_one_relaunch(thread):
    with thread([SLOW]) as service, ThreadPoolExecutor(3) as pool:
        with open_stream(service):
            install_tiny(service.store, "tiny", context_length=32768)
            wide = [
                pool.submit(service.generate, options={"num_ctx": context, "num_predict": 1})
                for context in (5000, 9000, 17000)
            ]
            time.sleep(0.5)
        used = {one.result(PATIENCE).json()["hyperllama"]["context_length"] for one in wide}
        assert used == {5000, 9000, 17000}
        assert service.engine()["context_length"] == 32768
        launched = service.client.get("/metrics").text
        assert 'engine_load_seconds_count{model="tiny:latest",outcome="ready"} 2.0' in launched


@pytest.mark.compat(
    ROUTE,
    "OLLAMA_LOAD_TIMEOUT",
    "better",
    "503 with Retry-After, the variable's name and the last words",
)
def test_a_load_ends_at_its_timeout(thread):
    with thread([Script(startup=60), Script()], env={"OLLAMA_LOAD_TIMEOUT": "500ms"}) as service:
        answer = service.generate()
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert "OLLAMA_LOAD_TIMEOUT" in answer.json()["error"]
        until(lambda: service.engine() is None or service.engine()["state"] == "failed")


@pytest.mark.parametrize("never", ["0", "-1"])
def test_a_load_without_timeout_is_waited_for(thread, never):
    with thread([Script(startup=0.3)], env={"OLLAMA_LOAD_TIMEOUT": never}) as service:
        assert service.generate().json()["response"] == ANSWER


@pytest.mark.compat(
    ROUTE,
    "a client that leaves while a model loads",
    "better",
    "the load goes on, so that a client with a short timeout can warm a slow model",
)
def test_a_short_timeout_can_warm_a_slow_model(host):
    with host([Script(startup=1.0)]) as service:
        for _ in range(20):
            try:
                answer = service.client.post(
                    "/api/generate",
                    json={"model": "tiny", "prompt": "x", "stream": False},
                    timeout=0.5,
                )
            except httpx.ReadTimeout:
                continue
            assert answer.json()["response"] == ANSWER
            break
        else:
            pytest.fail("it never got warm")
