"""The widget of models: what it tells, what it does, and what it leaves alone."""

import threading
from contextlib import contextmanager
from operator import itemgetter

import pytest

from hyperllama_nb.client import _start
from hyperllama_nb.errors import ConflictError, ModelNotFoundError, NotEnoughMemoryError
from hyperllama_nb.models import Store
from hyperllama_nb.runtime import socket_path
from hyperllama_nb.testing import FakeBackend, install_tiny
from hyperllama_nb.widgets import models as module
from hyperllama_nb.widgets._modelsource import Source
from hyperllama_nb.widgets.models import Models
from tests.models.registry_server import digest_of
from tests.service.hosting import PATIENCE, hosting, until
from tests.service.test_pulls import GGUF, pulling


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "INTERVAL", 0.05)
    monkeypatch.setattr(module, "BUSY_INTERVAL", 0.05)
    monkeypatch.setattr(module, "SEND_INTERVAL", 0.01)


@contextmanager
def showing(host=None):
    """Make a widget whose messages are kept in `sent`; nothing of it may be left at the end."""
    models = Models(host)
    models.sent = []
    models.send = models.sent.append
    try:
        yield models
    finally:
        models.close()
        _start.drop(socket_path())
        until(lambda: not threads())


def threads():
    return [one for one in threading.enumerate() if one.name.startswith("hyperllama-models")]


def row(models, name="tiny:latest"):
    return next((row for row in models.rows if row["name"] == name), None)


def done(models, name):
    """Return the bytes of a pull that have come; None where none runs."""
    return ((row(models, name) or {}).get("progress") or {}).get("done")


def see(models, view="a", how="visible"):
    models._handle(models, {"type": how, "view": view}, [])


def press(models, action, name):
    models._handle(models, {"type": action, "name": name}, [])


def test_showing_it_starts_no_service(monkeypatch):
    def start():
        raise AssertionError("a service was started")

    monkeypatch.setattr(_start, "_spawn", start)
    install_tiny(Store())
    with showing() as models:
        see(models)
        until(lambda: len(models.sent) >= 1)
        models.refresh()
        assert not socket_path().exists()
        assert row(models)["state"] == "stored"
        assert row(models)["memory_text"] == "known once the service runs"
        assert row(models, "smollm2:135m")["actions"] == ["pull"]
        assert row(models, "smollm2:135m")["size_text"] == "92.9 MB to fetch"
        assert "Service: not running" in models._text()
        assert repr(models) == "<Models 1 in the store, 0 loaded>"


def test_it_looks_at_the_service_only_while_it_is_seen():
    with hosting("thread"), showing() as models:
        assert not threads()
        see(models, "a")
        see(models, "b")
        assert models.sent[0]["type"] == "state"
        until(threads)
        see(models, "a", "hidden")
        assert threads()
        see(models, "b", "hidden")
        until(lambda: not threads())


def test_a_view_that_says_nothing_any_more_is_forgotten(monkeypatch):
    monkeypatch.setattr(module, "VIEW_AGE", 0.1)
    with hosting("thread"), showing() as models:
        see(models)
        until(lambda: not threads())


def test_a_model_is_loaded_pinned_and_unloaded():
    with hosting("thread", env={"OLLAMA_KEEP_ALIVE": "1h"}) as service, showing() as models:
        see(models)
        assert row(models)["verdict"] == "fits"
        assert row(models)["memory_text"].endswith(", fits")
        models.load("tiny").wait(PATIENCE)
        assert (row(models)["state"], row(models)["actions"]) == ("loaded", ["unload", "pin"])
        assert row(models)["memory_text"].startswith("takes ")
        models.pin("tiny").wait(PATIENCE)
        assert service.told("pinned")
        assert row(models)["actions"] == ["unload", "unpin"]
        models.unpin("tiny").wait(PATIENCE)
        assert not service.told("pinned")
        models.unload("tiny").wait(PATIENCE)
        assert service.engine() is None
        assert row(models)["state"] == "stored"
        states = [
            one["state"]
            for message in models.sent
            for one in message["rows"]
            if one["name"] == "tiny:latest"
        ]
        assert "loaded" in states


@pytest.mark.slow
def test_pinning_a_model_loads_it():
    with hosting("thread") as service, showing() as models:
        models.pin("tiny").wait(PATIENCE)
        assert (service.told("state"), service.told("pinned")) == ("ready", True)


def test_a_model_is_removed():
    with hosting("thread") as service, showing() as models:
        press(models, "remove", "tiny:latest")
        until(lambda: row(models) is None)
        assert service.store.list() == []
        until(lambda: models._notice["notice"] == "tiny:latest is removed from the store.")


@pytest.mark.slow
def test_an_engine_that_sleeps_is_told_and_not_woken():
    env = {"HYPERLLAMA_SLEEP_AFTER": "50ms"}
    with hosting("thread", env=env, able=frozenset({"sleeps"})) as service, showing() as models:
        models.load("tiny").wait(PATIENCE)
        see(models)
        until(lambda: row(models)["state"] == "asleep")
        asked = len(models.sent)
        models.refresh()
        assert service.told("asleep")
        assert len(models.sent) <= asked + 1


def test_a_pull_is_cancelled_and_goes_on_without_fetching_anything_twice(tmp_path):
    with pulling(tmp_path, stall=5000) as (_, registry), showing() as models:
        see(models)
        source = registry.name("library/tiny:1")
        name = f"{registry.host}/library/tiny:1"
        models.pull(source, insecure=True)
        until(lambda: done(models, name) == 5000)
        pulled = row(models, name)
        assert pulled["progress"]["total"] == len(GGUF)
        assert (pulled["state"], pulled["actions"]) == ("pulling", ["cancel"])
        assert "5 kB of " in pulled["text"]
        press(models, "cancel", name)
        until(lambda: row(models, name)["state"] == "partial")
        assert row(models, name)["text"] == "partly pulled, 5 kB here"
        assert row(models, name)["actions"] == ["resume"]
        registry.stall = None
        registry.requests.clear()
        press(models, "resume", name)
        until(lambda: row(models, name)["state"] == "stored")
        assert [asked["range"] for asked in registry.asked(digest_of(GGUF))] == ["bytes=5000-"]
        until(lambda: models._notice == {"notice": f"{name} is in the store.", "wrong": False})


def test_a_pull_that_another_kernel_left_goes_on(tmp_path):
    with pulling(tmp_path, stall=5000) as (service, registry):
        source, name = registry.name("library/tiny:1"), f"{registry.host}/library/tiny:1"
        with showing() as first:
            first.pull(source, insecure=True, name="mine")
            until(lambda: done(first, "mine:latest") == 5000)
        registry.stall = None
        with showing() as second:
            until(lambda: second.refresh() or row(second, "mine:latest")["state"] == "partial")
            press(second, "resume", "mine:latest")
            until(lambda: row(second, "mine:latest")["state"] == "stored")
        assert name not in [manifest.name.display for manifest in service.store.list()]
        assert registry.asked(digest_of(GGUF))[-1]["range"] == "bytes=5000-"


def test_the_pull_of_another_client_is_told(tmp_path):
    with pulling(tmp_path, stall=5000) as (service, registry), showing() as models:
        body = {"model": registry.name("library/tiny:1"), "insecure": True}
        with service.client.stream("POST", "/api/pull", json=body):
            name = f"{registry.host}/library/tiny:1"
            until(lambda: models.refresh() or done(models, name) == 5000)
            assert (row(models, name)["state"], row(models, name)["actions"]) == ("pulling", [])
            assert " of 114 kB (" in row(models, name)["text"]


def test_a_wrong_name_is_told_in_words_and_leaves_no_row():
    with hosting("thread"), showing() as models:
        before = len(models.rows)
        with pytest.raises(Exception, match="invalid model name"):
            models.pull("x!").wait(PATIENCE)
        until(lambda: models._notice["wrong"])
        assert models._notice["notice"].startswith("invalid model name")
        assert len(models.rows) == before
        with pytest.raises(ModelNotFoundError):
            models.load("nope").wait(PATIENCE)
        press(models, "pull", " ")
        assert models._notice["notice"].startswith("No model is named")


def test_what_does_not_fit_says_why(monkeypatch):
    refusal = NotEnoughMemoryError("tiny needs 9.0 GiB, and 1.0 GiB is free.")
    monkeypatch.setattr(FakeBackend, "check", _refuse(refusal))
    with hosting("thread"), showing() as models:
        assert row(models)["verdict"] == "no"
        assert (row(models)["memory_text"], row(models)["reason"]) == ("does not fit", str(refusal))
        assert "does not fit: tiny needs 9.0 GiB" in models._text()
        models.load("tiny")
        until(lambda: row(models)["error"])
        assert row(models)["error"] == str(refusal)
        assert row(models)["actions"]


def _refuse(error):
    def check(self, spec, hardware):
        raise error

    return check


def test_one_thing_at_a_time_is_done_to_a_model(tmp_path):
    with pulling(tmp_path, stall=5000) as (_, registry), showing() as models:
        source = registry.name("library/tiny:1")
        action = models.pull(source, insecure=True)
        assert models.pull(source, insecure=True) is action
        with pytest.raises(ConflictError, match="The pull of"):
            models.remove(source)
        with pytest.raises(TimeoutError):
            action.wait(0.01)
        models.cancel(source)
        action.wait(PATIENCE)
        assert "was cancelled" in repr(action)


def test_only_rows_that_changed_are_sent():
    with hosting("thread") as service, showing() as models:
        see(models)
        install_tiny(service.store, "other")
        # A message may have no rows: what is free of the disk changes by itself.
        delta = until(lambda: next(filter(itemgetter("rows"), models.sent[1:]), None))
        assert [one["name"] for one in delta["rows"]] == ["other:latest"]
        assert delta["order"][:2] == ["other:latest", "tiny:latest"]


def test_the_static_form_is_a_table_with_its_time():
    with hosting("thread"), showing() as models:
        bundle = models._static()
        assert bundle["text/plain"].startswith("Models, 20")
        assert "tiny:latest" in bundle["text/plain"]
        assert "<caption>Models, 20" in bundle["text/html"]
        assert '<th scope="col"' in bundle["text/html"]
        assert "free on its disk" in bundle["text/html"]
        assert models._static() == bundle


def test_a_service_elsewhere_that_does_not_answer_is_told():
    with showing("http://127.0.0.1:9") as models:
        assert models.rows == []
        assert "No service answers at http://127.0.0.1:9" in models._text()


def test_a_question_that_is_asked_while_all_is_closed_is_no_error(monkeypatch):
    with hosting("thread"):
        source = Source()
        source.look()
        before = source.rows({})

        def late():
            source.close()
            raise RuntimeError("Cannot send a request, as the client has been closed.")

        monkeypatch.setattr(source._client, "inventory", late)
        source.look()
        assert source.rows({}) == before
        source._closed = False
        monkeypatch.setattr(source, "close", lambda: None)
        with pytest.raises(RuntimeError):
            source.look()
