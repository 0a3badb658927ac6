"""A service of one's own and one elsewhere: what is loaded, how it is loaded, and who is in it."""

import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

from hyperllama_nb.bench import serving
from hyperllama_nb.bench.drive import Stopped
from hyperllama_nb.bench.records import Target
from hyperllama_nb.bench.usage import Usage
from hyperllama_nb.client import Client
from hyperllama_nb.errors import ConflictError, ModelNotFoundError
from hyperllama_nb.testing import Script
from tests.service.hosting import hosting, until

pytestmark = pytest.mark.slow  # loads of engines, one after another

TARGET = Target("fake", "service", "unused", "tiny", backend="fake")


@contextmanager
def service(where, script=None):
    """Give the client of the service itself, and one that goes the way of `where`."""
    with (
        hosting("thread", (script or Script(),)) as host,
        Client(f"unix:{host.socket}") as own,
        own.serve(port=0) as listener,
        Client(f"http://{next(iter(listener))['address']}") as other,
    ):
        yield own, (own if where == "own" else other)


@pytest.fixture(scope="module", params=["own", "elsewhere"])
def both(request):
    with service(request.param) as found:
        yield found


def test_an_engine_is_loaded_told_and_unloaded(both):
    own, client = both
    found, began = serving.serving(client), []
    engine, seconds, phases = found.load(TARGET, lambda: began.append(True))
    assert (engine["model"], engine["backend"]) == ("tiny:latest", "fake")
    assert engine["context_length"] == 4096
    assert seconds > 0
    assert sum(length for _, length in phases) <= seconds + 1e-6
    assert began == [True]
    assert [each["model"] for each in found.engines()] == ["tiny:latest"]
    with found.watching("tiny:latest", usage := Usage()):
        pass
    assert (usage.memory_peak is None) == isinstance(found, serving.Elsewhere)
    found.unload("tiny")
    until(lambda: own.status()["engines"] == [])


def test_all_engines_go_before_a_turn(both):
    own, client = both
    own.load_progress("tiny").poll(60)
    found = serving.serving(client)
    found.clear()
    assert found.engines() == []
    until(lambda: own.status()["engines"] == [])


def test_backends_are_told_at_either_door(both):
    _, client = both
    assert "fake" in serving.serving(client).status("tiny")["backends"]


def test_a_model_that_is_not_there_is_an_error(both):
    _, client = both
    with pytest.raises(ModelNotFoundError):
        serving.serving(client).load(replace(TARGET, model="none"), lambda: None)


@pytest.mark.parametrize("where", ["own", "elsewhere"])
def test_a_load_can_be_cut_off(where):
    with service(where, Script(startup=60.0)) as (own, client):
        found = serving.serving(client)
        with pytest.raises(Stopped):
            found.load(TARGET, lambda: threading.Timer(0.3, found.cancel).start())
        own.unload("tiny")


def test_an_engine_elsewhere_that_somebody_uses_is_left_to_them(monkeypatch):
    monkeypatch.setattr(serving, "GONE", 0.3)
    slow = Script(repeat=1000, delay=0.05)
    with (
        service("elsewhere", slow) as (own, client),
        own.generate("tiny", "Hello", stream=True) as stream,
    ):
        next(iter(stream))
        with pytest.raises(ConflictError, match="somebody uses it"):
            serving.serving(client).clear()
        assert own.status()["engines"][0]["running"] == 1
