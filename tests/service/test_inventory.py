"""The private routes for a list of models: what there is, what fits, what stays."""

import json
import math

from hyperllama_nb.engines.memory import Need
from hyperllama_nb.errors import CannotRunError, NotEnoughMemoryError
from hyperllama_nb.models.catalog import ENTRIES
from hyperllama_nb.testing import FakeBackend, install_tiny
from tests.service.hosting import until
from tests.service.test_pulls import GGUF, pulling


def test_the_store_the_catalog_and_the_disk_are_told(client, service):
    found = client.get("/admin/models").json()
    assert [model["model"] for model in found["models"]] == ["tiny:latest"]
    assert found["models"][0]["size"] == service.store.get("tiny").size
    assert {entry["model"] for entry in found["catalog"]} == {entry.name for entry in ENTRIES}
    assert found["catalog"][0]["room"] is True
    assert found["disk"]["models"] == found["models"][0]["size"]
    assert 0 < found["disk"]["free"] <= found["disk"]["total"]
    assert found["pulls"] == found["unfinished"] == []


def test_a_pull_is_told_while_it_runs_and_what_it_keeps_afterwards(tmp_path):
    with pulling(tmp_path, stall=5000) as (service, registry):
        name = registry.name("library/tiny:1")
        body = {"model": name, "insecure": True}
        with service.client.stream("POST", "/api/pull", json=body) as response:
            lines = response.iter_lines()  # to drop the iterator is to close the connection
            while json.loads(next(lines)).get("completed") != 5000:
                pass
            running = service.client.get("/admin/models").json()["pulls"]
            assert [(pull["source"], pull["completed"]) for pull in running] == [(name, 5000)]
            assert running[0]["total"] == len(GGUF)

        def ended():
            found = service.client.get("/admin/models").json()
            return None if found["pulls"] else found

        found = until(ended)
        kept = {"model": f"{registry.host}/library/tiny:1", "source": name, "kept": 5000}
        assert found["unfinished"] == [{**kept, "insecure": True, "quantize": None}]
        assert found["disk"]["partial"] >= 5000
        registry.stall = None
        assert service.lines("/api/pull", **body)[1][-1] == {"status": "success"}
        assert service.client.get("/admin/models").json()["unfinished"] == []


def test_the_plan_of_a_model_that_fits_has_its_memory(client):
    plan = client.post("/admin/plan", json={}).json()
    assert 0 < plan["memory"]["free"] <= plan["memory"]["total"]
    (tiny,) = plan["models"]
    assert (tiny["model"], tiny["verdict"], tiny["batch"]) == ("tiny:latest", "fits", 4)
    assert tiny["memory"]["total"] == sum(tiny["memory"][part] for part in Need.__annotations__)
    assert client.post("/admin/plan", json={"model": "nope"}).status_code == 404


class Small(FakeBackend):
    """A backend on a machine with room for so many requests, in the sum of its engines."""

    room = math.inf
    wheels = True

    def check(self, spec, hardware):
        if not self.wheels:
            raise CannotRunError("It has no wheels.")
        if spec.batch > self.room:
            raise NotEnoughMemoryError(f"There is no room for {spec.batch}.")


def test_the_plan_says_with_how_many_requests_it_fits_and_why_not(thread, monkeypatch):
    monkeypatch.setattr("tests.service.hosting.FakeBackend", Small)
    with thread() as service:
        monkeypatch.setattr(Small, "room", 2)
        plan = service.client.post("/admin/plan", json={"model": "tiny"}).json()["models"][0]
        assert (plan["verdict"], plan["batch"], plan["planned"]) == ("smaller", 2, 4)
        assert plan["reason"].startswith("There is memory for 2 requests at a time")
        monkeypatch.setattr(Small, "room", 0)
        plan = service.client.post("/admin/plan", json={"model": "tiny"}).json()["models"][0]
        assert (plan["verdict"], plan["reason"]) == ("no", "There is no room for 1.")
        assert plan["memory"] is None
        monkeypatch.setattr(Small, "wheels", False)
        plan = service.client.post("/admin/plan", json={"model": "tiny"}).json()["models"][0]
        assert (plan["verdict"], plan["reason"]) == ("cannot", "It has no wheels.")


def test_the_plan_counts_what_others_would_leave(thread, monkeypatch):
    class Tight(FakeBackend):
        free = 0

        def check(self, spec, hardware):
            if hardware.memory_available <= self.free:
                raise NotEnoughMemoryError("It is full.")

    monkeypatch.setattr("tests.service.hosting.FakeBackend", Tight)
    with thread() as service:
        install_tiny(service.store, "other")
        service.lines("/admin/load", model="other")
        engine = service.engine("other:latest")
        # The machine's own figures move: only the engine's memory makes the difference.
        monkeypatch.setattr(
            "hyperllama_nb.service.foresight.detect", lambda: _machine(engine["memory"] // 2)
        )
        monkeypatch.setattr(Tight, "free", engine["memory"])
        plans = service.client.post("/admin/plan", json={}).json()["models"]
        found = {plan["model"]: (plan["verdict"], plan["reason"]) for plan in plans}
        assert found == {"other:latest": ("loaded", ""), "tiny:latest": ("room", "It is full.")}


def _machine(available):
    from hyperllama_nb.hardware import Hardware

    return Hardware(2, 2, "cpu", 1 << 40, available)


def test_a_pinned_model_stays_and_wakes_for_nobody(thread):
    env = {"OLLAMA_KEEP_ALIVE": "1h", "HYPERLLAMA_SLEEP_AFTER": "50ms"}
    with thread(env=env, able=frozenset({"sleeps"})) as service:
        pin = {"model": "tiny"}
        assert service.client.post("/admin/pin", json=pin).json() == {
            "loaded": False,
            "pinned": False,
        }
        service.lines("/admin/load", model="tiny")
        until(lambda: service.told("asleep"))
        assert service.client.post("/admin/pin", json=pin).json()["pinned"] is True
        engine = service.engine()
        assert (engine["pinned"], engine["expires_at"], engine["asleep"]) == (True, None, True)
        answer = service.client.post("/admin/pin", json={**pin, "pinned": False}).json()
        assert answer == {"loaded": True, "pinned": False}
        engine = service.engine()
        assert engine["expires_at"] is not None
        assert engine["asleep"]


def test_what_a_widget_polls_keeps_no_service_alive(client):
    from hyperllama_nb.service.requests import POLLS

    assert {"/admin/models", "/admin/plan", "/admin/status"} <= POLLS
