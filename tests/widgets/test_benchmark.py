"""The benchmark widget: what it runs, what it tells its views, and what stays of it."""

import json
import threading
from contextlib import contextmanager

import pytest

from hyperllama_nb.bench.throughput import Objectives
from hyperllama_nb.errors import ConflictError, HyperLlamaError, RequestError
from hyperllama_nb.runtime import socket_path
from hyperllama_nb.testing import Script
from hyperllama_nb.widgets.benchmark import Benchmark
from tests.service.hosting import PATIENCE, SLOW, hosting, open_stream, until
from tests.widgets.serving import serving

QUICK = {"concurrency": (2,), "requests": 4, "output_tokens": 4, "input_tokens": 8, "blocks": 1}

PAIR = ("fake", "fake")


@contextmanager
def benchmark(*targets, **fields):
    """Make a widget whose messages are kept in `sent`; nothing of it may be left at the end."""
    made = Benchmark("tiny", targets or PAIR, **{**QUICK, **fields})
    made.sent = []
    made.send = made.sent.append
    try:
        yield made
    finally:
        made.close()
        until(lambda: not threads())


def threads():
    return [one for one in threading.enumerate() if one.name.startswith("hyperllama-benchmark")]


def tell(made, kind, **fields):
    made._handle(made, {"type": kind, **fields}, [])


def shown(made):
    """Return what a view that got all messages shows."""
    state = dict(made._state)
    for message in made.sent:
        fields = {name: value for name, value in message.items() if name != "type"}
        parts = {**state["parts"], **fields.pop("parts", {})}
        state |= {**fields, "parts": parts}
    return state


def test_showing_it_starts_nothing():
    with benchmark() as made:
        tell(made, "visible", view="a")
        state = shown(made)
        assert state["status"]["actions"] == ["start"]
        assert state["status"]["text"] == "Not started."
        assert state["form"]["others"] == "fake, fake"
        assert (made.requests, made.summary, made.session) == ([], {}, None)
        assert "Nothing was measured yet" in made._text()
        assert "not started" in repr(made)
        assert not socket_path().exists()
        made.wait(0)


def test_a_wrong_form_is_told_in_words_and_cannot_be_started():
    with benchmark() as made:
        fields = {**shown(made)["form"], "blocks": "many"}
        tell(made, "form", form=fields)
        assert "whole number" in shown(made)["problems"]["blocks"]
        assert shown(made)["form"]["blocks"] == "many"
        tell(made, "start")
        assert "The field blocks is not right" in shown(made)["status"]["notice"]
        with pytest.raises(RequestError, match="blocks"):
            made.start()
        tell(made, "form", form={**fields, "blocks": "7", "workload": "uniform"})
        assert shown(made)["problems"] == {}
        made.extend(2)
        assert shown(made)["form"]["blocks"] == "9"
        assert shown(made)["form"]["workload"] == "uniform"
        with pytest.raises(RequestError, match="none"):
            made.extend(0)
        with pytest.raises(RequestError, match="no run"):
            made.write("nowhere")


@pytest.mark.slow
def test_a_comparison_runs_and_its_fragments_come_to_the_view(tmp_path):
    with serving(), benchmark(blocks=3) as made:
        tell(made, "visible", view="a")
        made.start().wait(PATIENCE)
        state = shown(made)
        assert state["status"]["state"] == "done"
        assert state["status"]["done"] == state["status"]["planned"] == len(made.requests)
        parts = state["parts"]
        for name in ("verdict", "curves", "ecdf", "numbers", "fairness", "loads"):
            assert parts[name], name
        assert "fake against fake #2" in parts["verdict"]
        assert state["cells"] == ["2 at a time"]
        assert state["look"] == {"metric": "ttft", "cell": "2 at a time"}
        assert all(len(json.dumps(message)) < 60_000 for message in made.sent)
        assert not made._comparing.running
        text, html = made._text(), made._html()
        assert "2 at a time" in text
        assert "Fairness: " in text
        assert "<svg" not in html
        assert html.count('<img alt="') >= 4
        made.write(tmp_path / "run")
        assert (tmp_path / "run" / "report.html").exists()
        assert made.summary["blocks"] == 3


@pytest.mark.slow
def test_objectives_are_applied_to_what_was_measured_without_a_new_run():
    with serving(), benchmark() as made:
        made.start().wait(PATIENCE)
        count = len(made.requests)
        assert shown(made)["parts"]["goodput"] == ""
        tell(made, "objectives", ttft=60_000, tpot=None, e2e=None)
        assert "fake: 4 of 4 (" in shown(made)["told"]
        tell(made, "objectives", ttft=0.001)
        assert "fake: 0 of 4 (" in shown(made)["told"]
        assert "0 of 4" in shown(made)["parts"]["goodput"]
        assert made.objectives == Objectives(ttft=1e-6)
        assert made.summary["objectives"]["ttft"] == 1e-6
        assert len(made.requests) == count
        tell(made, "look", metric="e2e", cell="no such load")
        assert shown(made)["look"] == {"metric": "e2e", "cell": "2 at a time"}
        assert "end-to-end latency" in shown(made)["parts"]["ecdf"]


@pytest.mark.slow
def test_it_pauses_goes_on_stops_and_is_extended():
    with serving([Script(delay=0.02, repeat=10)]), benchmark(blocks=2) as made:
        made.start()
        assert made.start() is made
        until(lambda: made.requests)
        tell(made, "pause")
        until(lambda: made.session.state == "paused")
        assert made.running
        count = len(made.requests)
        with pytest.raises(TimeoutError):
            made.wait(0.1)
        assert len(made.requests) == count
        tell(made, "resume")
        until(lambda: len(made.requests) > count)
        made.stop()
        made.wait(PATIENCE)
        assert made.session.state == "stopped"
        kept = len(made.requests)
        assert shown(made)["status"]["actions"] == ["start", "extend"]
        tell(made, "extend")
        until(lambda: not made.running)
        assert made.session.blocks == 5
        assert len(made.requests) > kept


@pytest.mark.slow
def test_somebody_who_is_answered_is_not_disturbed_and_nothing_is_lost():
    with serving([Script(), Script(), SLOW]) as service, benchmark() as made:
        made.start().wait(PATIENCE)
        kept = made.requests
        with open_stream(service, options={"num_predict": 10**5}):
            tell(made, "start")
            with pytest.raises(ConflictError, match="answering somebody"):
                made.wait(PATIENCE)
            assert "answering somebody" in shown(made)["status"]["notice"]
        assert made.requests == kept
        assert shown(made)["parts"]["ecdf"]


@pytest.mark.slow
def test_a_model_that_is_not_there_is_told():
    with serving():
        made = Benchmark("absent", PAIR, **QUICK)
        with pytest.raises(HyperLlamaError, match="absent"):
            made.start().wait(PATIENCE)
        assert "absent" in made._whole()["status"]["notice"]
        made.close()


@pytest.mark.slow
def test_its_end_ends_what_runs():
    with hosting("thread", [SLOW]) as service:
        with benchmark(output_tokens=1000) as made:
            made.start()
            until(lambda: service.requests())
        assert made.session.state == "stopped"
        until(lambda: not service.engine())
