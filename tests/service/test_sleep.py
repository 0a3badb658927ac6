"""Sleeping engines, as the users of a service see them: not at all, but in the figures."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from hyperllama_nb.engines.group import members
from hyperllama_nb.service.config import HyperLlamaService
from hyperllama_nb.testing import Script
from tests.service.hosting import ANSWER, PATIENCE, PLAIN, SLOW, hosting, open_stream, until
from tests.service.test_metrics import value

SLEEPS = frozenset({"sleeps"})


def sleepy(scripts=PLAIN, *, kind="thread", after="100ms", **options):
    """Host a service whose engines sleep very soon."""
    env = {"HYPERLLAMA_SLEEP_AFTER": after, **options.pop("env", {})}
    return hosting(kind, scripts, env=env, able=SLEEPS, **options)


def stopped(service):
    """Tell whether the engine's processes are stopped, as the system sees it."""
    states = [process.status() for process in members(service.told("pid"))]
    return bool(states) and set(states) == {psutil.STATUS_STOPPED}


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_an_engine_sleeps_between_requests_and_that_is_told(kind):
    with sleepy(kind=kind) as service:
        for _ in range(3):
            assert service.generate().json()["response"] == ANSWER
            until(lambda: stopped(service))
        told = service.engine()
        assert (told["state"], told["asleep"]) == ("ready", True)
        assert told["message"] == "asleep until the next request"
        assert told["memory"] > 1_000_000
        assert value(service, "engine_asleep", model="tiny:latest") == 1
        assert value(service, "engine_memory_bytes", model="tiny:latest") > 1_000_000
        (row,) = service.client.get("/api/ps").json()["models"]
        assert row["hyperllama"] == {"state": "ready", "asleep": True}
        assert row["size"] > 1_000_000
        # To look at it does not wake it.
        assert stopped(service)


def test_an_engine_that_is_used_does_not_sleep():
    with sleepy([SLOW]) as service, open_stream(service):
        time.sleep(0.5)
        assert not service.told("asleep")
        assert not stopped(service)


def test_an_engine_whose_client_has_left_sleeps():
    with sleepy([SLOW]) as service:
        with open_stream(service):
            pass
        until(lambda: stopped(service))


def test_engines_that_cost_nothing_are_let_be():
    with hosting("thread", env={"HYPERLLAMA_SLEEP_AFTER": "0"}) as service:
        service.generate()
        time.sleep(0.3)
        assert not service.told("asleep")
        assert not stopped(service)


def test_a_setting_keeps_engines_awake():
    with sleepy(after="-1") as service:
        service.generate()
        time.sleep(0.3)
        assert not service.told("asleep")


def test_nobody_meets_an_engine_that_is_stopped():
    chance = random.Random(4)
    pauses = [chance.uniform(0.0, 0.06) for _ in range(100)]

    def ask(pause):
        time.sleep(pause)
        return service.generate()

    with sleepy(after="30ms") as service, ThreadPoolExecutor(3) as pool:
        service.generate()
        answers = list(pool.map(ask, pauses, timeout=PATIENCE))
        assert [answer.json()["response"] for answer in answers] == [ANSWER] * 100
        until(lambda: stopped(service))


def test_a_sleeping_engine_is_unloaded_as_any_other():
    with sleepy() as service:
        service.generate()
        until(lambda: stopped(service))
        pid = service.told("pid")
        service.client.post("/admin/unload", json={"model": "tiny"})
        assert not list(members(pid))
        assert service.engine() is None


def test_keep_alive_counts_while_an_engine_sleeps():
    with sleepy(env={"OLLAMA_KEEP_ALIVE": "500ms"}) as service:
        service.generate()
        until(lambda: service.engine() is None)


def test_a_sleeping_engine_that_dies_is_noticed_and_replaced():
    with sleepy() as service:
        service.generate()
        until(lambda: stopped(service))
        pid = service.told("pid")
        for process in members(pid):
            process.kill()
        until(lambda: service.told("state") != "ready")
        assert service.generate().json()["response"] == ANSWER
        assert service.told("pid") != pid


def test_an_engine_does_not_sleep_while_it_loads():
    with (
        sleepy([Script(startup=0.5)], after="0") as service,
        ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(service.generate)
        until(lambda: service.told("state") == "loading")
        assert not service.told("asleep")
        assert answer.result(PATIENCE).json()["response"] == ANSWER


@pytest.mark.parametrize(("text", "seconds"), [("", 2.0), ("500ms", 0.5), ("0", 0.0)])
def test_the_time_is_a_setting(monkeypatch, text, seconds):
    monkeypatch.setenv("HYPERLLAMA_SLEEP_AFTER", text)
    assert HyperLlamaService().sleep_after == seconds
