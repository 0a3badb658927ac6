"""What a monitor is told: of all clients, while they are served, and without waking anybody."""

import time

import httpx
import pytest

from hyperllama_nb.client import Client
from hyperllama_nb.errors import ServiceError
from hyperllama_nb.service import samples
from hyperllama_nb.testing import Script
from tests.service.hosting import ANSWER, SLOW, open_stream, until
from tests.service.test_sleep import sleepy, stopped

NAME = "tiny:latest"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Let snapshots and readings follow each other at once."""
    monkeypatch.setattr(samples, "FRESH", 0.0)
    monkeypatch.setattr(samples, "PAUSE", 0.05)


def take(service, query=""):
    answer = service.client.get(f"/admin/samples{query}")
    assert answer.status_code == 200
    return answer.json()


def engine(service):
    found = take(service)["engines"]
    return found[0] if found else {}


def test_totals_are_those_of_all_clients_and_outlive_the_engine(thread):
    with thread() as service:
        assert take(service)["models"] == {}
        one = service.generate("one").json()
        with Client(f"unix:{service.socket}", start=False) as other:
            two = other.generate("tiny", "the other")
            told = other.samples("tiny")["models"][NAME]
        assert told["output_tokens"] == one["eval_count"] + two.eval_count == 14
        assert told["prompt_tokens"] == one["prompt_eval_count"] + two.prompt_eval_count
        assert told["first_tokens"] == len(told["waits"]) == 2
        assert all(wait > 0 for wait in told["waits"])
        service.client.post("/admin/unload", json={"model": "tiny"})
        after = take(service)
        assert after["models"][NAME] == told
        assert after["engines"] == []


def test_totals_grow_while_tokens_stream(thread):
    with thread([SLOW], slots=1) as service, open_stream(service):
        first = take(service)
        until(lambda: take(service)["models"][NAME]["output_tokens"] > 20)
        then = take(service)
        assert then["service"] == first["service"]
        assert then["clock"] > first["clock"]
        told = then["models"][NAME]
        assert (told["first_tokens"], told["prompt_tokens"] > 0) == (1, True)
        (loaded,) = then["engines"]
        assert (loaded["state"], loaded["running"], loaded["queued"]) == ("ready", 1, 0)
        assert loaded["slots"] == 1
        assert loaded["memory"] > 1_000_000


def test_a_prompt_counts_once_it_was_read(thread):
    with thread([Script(delay_first=60)]) as service:
        service.lines("/admin/load", model="tiny")
        with pytest.raises(httpx.ReadTimeout):
            service.client.post("/api/generate", json={"model": "tiny", "prompt": "x"}, timeout=0.3)
        assert take(service)["models"][NAME] == {
            "prompt_tokens": 0,
            "output_tokens": 0,
            "first_tokens": 0,
            "waits": [],
        }


def test_the_cache_and_the_batches_are_the_engines_own_words(thread):
    with thread([SLOW]) as service:
        with open_stream(service):
            until(lambda: engine(service)["cache_used"] == 1)
            told = engine(service)
            assert told["cache_total"] == 8
            until(lambda: engine(service)["batch"] == 1)
        until(lambda: engine(service)["running"] == 0)
        assert engine(service)["batch"] == 0


def test_to_look_neither_wakes_an_engine_nor_keeps_it_awake():
    with sleepy(after="300ms") as service:
        assert service.generate().json()["response"] == ANSWER
        until(lambda: engine(service)["state"] == "asleep")
        until(lambda: stopped(service))
        for _ in range(10):
            told = engine(service)
            assert told["state"] == "asleep"
            time.sleep(0.06)
        assert stopped(service)
        assert told["memory"] > 1_000_000


def test_the_machine_is_told_in_totals(thread):
    with thread() as service:
        one = take(service)["machine"]
        time.sleep(0.3)
        two = take(service)["machine"]
        assert two["cpu_total"] > one["cpu_total"]
        assert 0 <= two["cpu_busy"] - one["cpu_busy"] <= two["cpu_total"] - one["cpu_total"] + 0.1
        assert 0 < two["memory_used"] < two["memory_total"]


def test_a_model_is_named_as_everywhere(thread):
    with thread() as service:
        service.generate()
        for written in ("tiny", "Tiny:latest"):
            told = take(service, f"?model={written}")
            assert told["models"].keys() == {NAME}
            assert [engine["model"] for engine in told["engines"]] == [NAME]
        nobody = take(service, "?model=nobody")
        assert (nobody["models"], nobody["engines"]) == ({}, [])
        assert service.client.get("/admin/samples?model=a//b").status_code == 400


def test_many_monitors_cost_one_snapshot(thread, monkeypatch):
    monkeypatch.setattr(samples, "FRESH", 60.0)
    with thread() as service:
        assert take(service) == take(service)


def test_nobody_starts_a_service_to_look_at_it():
    with Client() as client, pytest.raises(ServiceError):
        client.samples()
