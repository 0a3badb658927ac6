"""The monitor: what it sees of a service, how it bears that there is none, and what it leaves."""

import json
import threading
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from hyperllama_nb.client import Client
from hyperllama_nb.display import cells
from hyperllama_nb.errors import RequestError
from hyperllama_nb.runtime import socket_path
from hyperllama_nb.service import samples
from hyperllama_nb.testing import Script
from hyperllama_nb.widgets import Monitor, _polling, _shown, monitor
from hyperllama_nb.widgets._polling import FASTEST
from tests.service.hosting import ANSWER, hosting, until
from tests.service.test_sleep import sleepy, stopped

PLOTLY = "application/vnd.plotly.v1+json"
VIEW = "application/vnd.jupyter.widget-view+json"
STEADY = Script(pieces=["a "], repeat=10**6, delay=0.01)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(_polling, "SLOW", 0.05)
    for module in (_polling, monitor):
        monkeypatch.setattr(module, "FASTEST", 0.05)
    monkeypatch.setattr(samples, "FRESH", 0.0)
    monkeypatch.setattr(samples, "PAUSE", 0.1)
    monkeypatch.setattr(monitor, "_cells", _shown.Cells())
    yield
    until(lambda: not threads(), 10)


def threads():
    return [t for t in threading.enumerate() if t.name == "hyperllama-monitor"]


class Notebook:
    """A front end: what a kernel sends to it, by display id, and the cell that runs."""

    def __init__(self):
        self.outputs = {}
        self.updates = 0
        self.cell, self.run = "c1", "r1"
        self.hooks = []

    def show(self, bundle, _metadata, display_id, update=False):
        assert update == (display_id in self.outputs)
        self.outputs[display_id] = dict(bundle)
        self.updates += update

    def parent(self):
        return {"metadata": {"cellId": self.cell}, "header": {"msg_id": self.run}}

    def register(self, event, hook):
        assert event == "post_run_cell"
        self.hooks.append(hook)

    def unregister(self, event, hook):
        self.hooks.remove(hook)

    @property
    def shown(self):
        return list(self.outputs.values())[-1]


@pytest.fixture
def notebook(monkeypatch):
    made = Notebook()
    monkeypatch.setattr(_shown, "display_bundle", made.show)
    monkeypatch.setattr(cells, "parent", made.parent)
    monkeypatch.setattr(_shown, "_events", lambda: made)
    for module in (_shown, monitor):
        monkeypatch.setattr(module, "in_kernel", lambda: True)
    return made


def seen(watched, column):
    return [row[column] for row in watched.samples if row[column] is not None]


def test_it_watches_every_client_of_the_service():
    with hosting("thread", [STEADY]) as service, Monitor(interval=0.05) as watched:
        until(lambda: seen(watched, "running"))

        def ask(_):
            with Client(f"unix:{service.socket}", start=False) as client:
                return client.generate("tiny", "x", options={"num_predict": 60}).eval_count

        with ThreadPoolExecutor(2) as pool:
            counts = list(pool.map(ask, range(2)))
        until(lambda: seen(watched, "decode")[-1:] == [0])
        told = service.client.get("/admin/samples").json()["models"]["tiny:latest"]
        assert told["output_tokens"] == sum(counts) == 120
        assert max(seen(watched, "running")) == 2
        # rates are means over a second, so that their integral is what was made
        rows = watched.samples
        steps = pairwise(rows)
        area = sum((b["decode"] or 0) * (b["time"] - a["time"]) for a, b in steps)
        assert 60 < area < 240
        assert len(watched._samples.waits(60)) == 2
        assert max(seen(watched, "cache")) > 0
        assert max(seen(watched, "engine_memory")) > 1_000_000


def test_a_model_is_watched_alone():
    with hosting("thread") as service, Monitor("other", interval=0.05) as watched:
        service.generate()
        before = len(watched.samples)
        until(lambda: len(watched.samples) > before + 2)
        assert watched.samples[-1]["state"] == "no engine"
        assert "Monitor of other" in watched.summary()


def test_an_engine_that_sleeps_is_left_asleep():
    with sleepy(after="200ms") as service, Monitor(interval=0.05) as watched:
        assert service.generate().json()["response"] == ANSWER
        until(lambda: watched.samples[-1]["state"] == "asleep")
        until(lambda: stopped(service))
        before = len(watched.samples)
        until(lambda: len(watched.samples) > before + 3)
        assert stopped(service)
        assert {row["state"] for row in watched.samples[before:]} == {"asleep"}


def test_a_service_that_is_not_there_is_neither_started_nor_given_up():
    with Monitor(interval=0.05) as watched:
        until(lambda: len(watched.samples) > 1)
        assert {row["state"] for row in watched.samples} == {"not running"}
        assert not socket_path().exists()
    assert watched.samples[-1]["decode"] is None
    assert watched.summary().endswith("No service answers. The first request starts one.")
    with Monitor(interval=0.05) as watched:
        for _ in range(2):
            with hosting("thread") as service:
                service.generate()
                until(lambda: watched.samples and watched.samples[-1]["state"] == "ready")
            until(lambda: watched.samples[-1]["state"] == "not running")


def test_a_service_that_does_not_know_the_question_is_told_of(monkeypatch, notebook):
    with hosting("thread"):
        watched = Monitor("not//a/name", interval=0.05)
        watched._ipython_display_()
        assert watched.samples[-1]["state"] == "unknown"
        assert "is not a" in watched._shown._live.strip.text
        watched.stop()


def test_it_asks_five_times_a_second_at_most():
    assert FASTEST == 0.2
    asked = []

    class Counting(Monitor):
        def _ask(self):
            asked.append(time.monotonic())
            return super()._ask()

    with hosting("thread"), Counting(interval=0.001) as watched:
        assert watched.interval == 0.05
        until(lambda: len(asked) > 5)
    gaps = [b - a for a, b in pairwise(asked)]
    assert min(gaps) > 0.045


@pytest.mark.parametrize("end", ["stop", "close", "duration"])
def test_no_thread_is_left(end):
    watched = Monitor(interval=0.05, duration=0.3 if end == "duration" else None).start()
    assert watched.running
    assert len(threads()) == 1
    if end != "duration":
        getattr(watched, end)()
    until(lambda: not threads())
    assert not watched.running
    watched.stop()


def test_it_pauses_and_goes_on_with_a_gap():
    with hosting("thread"), Monitor(interval=0.05) as watched:
        until(lambda: len(watched.samples) > 1)
        watched.pause()
        assert watched.paused
        time.sleep(0.2)
        count = len(watched.samples)
        time.sleep(0.2)
        assert len(watched.samples) == count
        assert "paused" in [row["state"] for row in watched.samples]
        watched.resume()
        until(lambda: len(watched.samples) > count + 1)


def test_a_stopped_monitor_can_be_started_again():
    with hosting("thread"):
        watched = Monitor(interval=0.05)
        for _ in range(2):
            watched.start()
            before = len(watched.samples)
            until(lambda before=before: len(watched.samples) > before + 1)
            watched.stop()


def test_a_stopped_monitor_shows_its_figure_and_stays_stopped(notebook):
    with hosting("thread"):
        watched = Monitor(interval=0.05)
        watched._ipython_display_()
        until(lambda: len(watched.samples) > 1)
        watched.stop()
        watched._ipython_display_()
        assert not watched.running
        assert len(notebook.outputs) == 2
        check_kept(notebook.shown)
        watched.start()
        watched._ipython_display_()
        assert VIEW in notebook.shown
        watched.stop()


def test_samples_are_plain():
    with hosting("thread"), Monitor(interval=0.05) as watched:
        until(lambda: len(watched.samples) > 1)
    row = json.loads(json.dumps(watched.samples))[-1]
    assert {"time", "state", "decode", "prompt", "running", "cache", "memory"} < row.keys()
    watched.samples.clear()
    assert watched.samples


@pytest.mark.parametrize("window", [0, -1, 901])
def test_a_window_that_cannot_be_kept_is_refused(window):
    with pytest.raises(RequestError, match="up to 900 s"):
        Monitor(window=window)


def test_the_live_view_becomes_a_figure_when_it_ends(notebook):
    with hosting("thread", [STEADY]) as service:
        watched = Monitor(interval=0.05)
        watched._ipython_display_()
        assert VIEW in notebook.shown
        assert "stop()" in notebook.shown["text/plain"]
        live = watched._shown._live
        service.generate(options={"num_predict": 30})
        until(lambda: len(watched.samples) > 3)
        until(lambda: len(live.figure.data[0].x) > 3)
        assert "tokens/s" in watched._shown._live.strip.text or live.strip.text
        live._received(None, {"type": "stop"}, [])
        assert not watched.running
        assert live.figure.comm is live.strip.comm is live.box.comm is None
    assert len(notebook.outputs) == 1
    check_kept(notebook.shown)
    assert notebook.hooks == []


def check_kept(bundle):
    assert bundle.keys() == {PLOTLY, "image/svg+xml", "text/plain"}
    root = ET.fromstring(bundle["image/svg+xml"])
    assert root.get("role") == "img"
    assert root[0].text == bundle["text/plain"]
    assert "currentColor" in bundle["image/svg+xml"]
    assert bundle["text/plain"].startswith("Monitor of all models, ")
    assert "highest" in bundle["text/plain"]
    names = [trace["name"] for trace in bundle[PLOTLY]["data"]]
    assert names[:2] == ["decode", "prompt"]


def test_the_controls_reach_the_monitor(notebook):
    with hosting("thread"):
        watched = Monitor(window=90, interval=0.05)
        watched._ipython_display_()
        live = watched._shown._live
        assert live.strip.windows == [60, 90, 120, 300, 900]
        live.strip.window = 300
        assert watched.window == 300
        assert tuple(live.figure.layout.xaxis.range) == (-300, 0)
        live.strip.paused = True
        assert watched.paused
        assert live.strip.text.startswith("Paused.")
        live.strip.paused = False
        assert not watched.paused
        watched.pause()
        assert live.strip.paused
        watched.resume()
        assert not live.strip.paused
        watched.stop()


def test_a_front_end_that_names_no_cell_gets_pictures(notebook):
    notebook.cell = None
    with hosting("thread"):
        watched = Monitor(interval=0.05)
        watched._ipython_display_()
        assert watched._shown._live is None
        check_kept(notebook.shown)
        before = notebook.updates
        (hook,) = notebook.hooks
        hook(None)
        assert notebook.updates == before + 1
        watched.stop()
    check_kept(notebook.shown)
    assert notebook.hooks == []


def test_without_the_libraries_of_the_live_figure_there_are_pictures(notebook, monkeypatch):
    def none(self):
        raise ImportError("no anywidget")

    monkeypatch.setattr(Monitor, "_widgets", none)
    with hosting("thread"):
        watched = Monitor(interval=0.05)
        watched._shown._make = watched._widgets
        watched._ipython_display_()
        check_kept(notebook.shown)
        watched.stop()


def test_a_cell_that_runs_again_ends_its_monitors_and_no_others(notebook):
    with hosting("thread"):
        first, second, other = (Monitor(interval=0.05) for _ in range(3))
        first._ipython_display_()
        second._ipython_display_()
        assert first.running
        notebook.cell, notebook.run = "c2", "r2"
        other._ipython_display_()
        assert second.running
        notebook.cell, notebook.run = "c1", "r3"
        fresh = Monitor(interval=0.05)
        fresh._ipython_display_()
        assert [m.running for m in (first, second, other, fresh)] == [False, False, True, True]
        other.stop()
        fresh.stop()


def test_a_monitor_that_saw_nothing_says_so():
    watched = Monitor()
    assert watched._repr_mimebundle_() == {"text/plain": watched.summary()}
    assert "nothing was seen" in watched.summary()
    assert repr(watched) == "<Monitor of all models, stopped, 0 samples>"


def test_a_terminal_gets_the_table(monkeypatch):
    shown = []
    monkeypatch.setattr(
        _shown, "display_bundle", lambda bundle, *_: shown.append(bundle["text/plain"])
    )
    with hosting("thread"):
        watched = Monitor(interval=0.05)
        watched._ipython_display_()
        watched.stop()
    assert len(shown) == 1
    assert "memory, machine" in shown[0]
