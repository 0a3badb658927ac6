"""Streams that wait, are left, or break: slots are freed and errors arrive."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from hyperllama_nb.testing import Script
from tests.service.hosting import ANSWER, PATIENCE, SLOW, open_stream, until

# Queues


def test_what_exceeds_the_queue_is_refused_in_ollamas_words(host):
    with host([SLOW], slots=1, env={"OLLAMA_MAX_QUEUE": "1"}) as service:
        with ThreadPoolExecutor(1) as pool, open_stream(service):
            second = pool.submit(service.generate, options={"num_predict": 1})
            until(lambda: service.told("queued") == 1)
            third = service.generate()
            assert third.status_code == 503
            assert third.json()["error"] == (
                "server busy, please try again.  maximum pending requests exceeded"
            )
            assert third.json()["code"] == "busy"
        assert second.result(PATIENCE).json()["response"] == "x"


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
            until(lambda: service.told("queued") == 1)
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
        until(lambda: service.told("running") == 0)


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
        until(lambda: service.told("queued") == 0)
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
        until(lambda: service.told("state") == "failed")
        assert service.generate().json()["response"] == ANSWER


def test_a_model_that_keeps_dying_is_not_started_for_ever(thread):
    with thread([Script(die_after=0)]) as service:
        errors = [service.generate().json()["error"] for _ in range(7)]
        refused = ["is not started for the next" in error for error in errors]
        assert refused == [False] * 4 + [True] * 3


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
