"""A comparison as a session: what it does by itself, and what can be done to it meanwhile."""

import json
import signal
import threading
from contextlib import contextmanager

import pytest

from hyperllama_nb.access.keys import KeyStore
from hyperllama_nb.bench import rundir
from hyperllama_nb.bench.choice import Choice
from hyperllama_nb.bench.session import Session
from hyperllama_nb.bench.throughput import Objectives
from hyperllama_nb.client import Client
from hyperllama_nb.errors import (
    ConflictError,
    HyperLlamaError,
    ModelNotFoundError,
    RequestError,
    ServiceError,
)
from hyperllama_nb.testing import Script
from tests.service.hosting import PATIENCE, hosting, until

SMALL = {"concurrency": (2,), "requests": 4, "input_tokens": 30, "output_tokens": 9, "blocks": 2}

TURN = 6
"""Requests of a turn, its two warm-ups included."""


def choice(*targets, **fields):
    return Choice("tiny", targets or ("fake", "fake"), **{**SMALL, **fields})


@contextmanager
def serving(script=None, **options):
    with (
        hosting("thread", (script or Script(),), **options) as service,
        Client(f"unix:{service.socket}") as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client():
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def slow():
    """Give the client of a service whose answers take a second."""
    with serving(Script(delay=0.1, repeat=100)) as found:
        yield found


@contextmanager
def running(session):
    """Run a session in a thread; it must end by itself or be stopped in the block."""
    thread = threading.Thread(target=session.run)
    thread.start()
    try:
        yield session
    finally:
        session.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def statuses(session):
    return [request.status for request in session.requests()]


@pytest.mark.slow
def test_a_session_measures_all_that_was_chosen(client, tmp_path):
    told = []
    limits = Objectives(ttft=60.0)
    session = Session(client, choice(noise_floor=True, objectives=limits), tell=told.append)
    assert (session.state, session.where, session.blocks) == ("ready", "", 2)
    outcome = session.run()
    assert (session.state, session.where, session.error) == ("done", "", "")
    assert outcome is session.outcome
    assert outcome.complete
    assert outcome.blocks == [0, 1]
    assert session.version >= 4 * TURN
    assert len(session.requests()) == 4 * TURN
    assert "block 1 of 2: loading fake" in told
    assert "block 2 of 2: fake #2, 2 at a time" in told
    assert {each.output_tokens for each in session.requests()} == {9}
    checks = {check.rule: check.state for check in session.checks()}
    assert checks["same tokens out"] == checks["same weights"] == "pass"
    assert checks["one engine at a time"] == checks["warm"] == "pass"
    summary = session.summary()
    assert summary["targets_same"] == ["fake", "fake #2"]
    assert summary["objectives"]["ttft"] == 60.0
    assert summary["cells"][0]["targets"]["fake"]["goodput"]["share"] == 1.0
    session.write(tmp_path / "run")
    kept = rundir.read(tmp_path / "run")
    assert kept.manifest["choice"]["targets"] == ["fake", "fake"]
    assert kept.manifest["facts"]["targets"]["fake"]["cache_type"] == "float32"
    assert kept.manifest["targets"]["fake"]["ignore_eos"] is True
    assert len(kept.requests) == 4 * TURN


@pytest.mark.slow
def test_prompts_are_as_long_as_the_service_counts_them(client):
    session = Session(client, choice("fake", blocks=1))
    session.run()
    lengths = [(each.prompt_tokens, each.asked_prompt) for each in session.requests()]
    # the tokenizer of the tiny model takes each letter for a token: exact within a word
    assert all(abs(found - asked) < 10 for found, asked in lengths)


@pytest.mark.slow
def test_a_session_rests_between_turns_and_keeps_its_engine(client):
    session = Session(client, choice(blocks=1))
    places = []
    session._tell = lambda place: places.append(place) or (len(places) == 3 and session.pause())
    with running(session):
        until(lambda: session.state == "paused")
        assert len(session.requests()) == TURN
        assert [engine["state"] for engine in client.status()["engines"]] == ["ready"]
        with pytest.raises(ConflictError, match="runs already"):
            session.run()
        version = session.version
        session.resume()
        until(lambda: session.state == "done")
        assert session.version > version
    assert len(session.requests()) == 2 * TURN
    assert client.status()["engines"] == []


@pytest.mark.slow
def test_a_stop_cuts_the_turn_and_what_is_missing_can_be_measured_later(slow):
    session = Session(slow, choice("fake", output_tokens=5))
    order = session.plan.order
    with running(session):
        until(lambda: len(session.requests()) >= 3)
        assert session.where.startswith("block 1 of 2: fake, 2 at a time")
        session.stop()
        until(lambda: session.state == "stopped")
    assert "incomplete" in statuses(session)
    assert session.outcome.blocks == []
    assert session.outcome.note.startswith("Stopped: 0 of 2 blocks")
    assert session.summary()["complete"] is False
    assert slow.status()["engines"] == []
    count = len(session.requests())
    session.extend(1)
    assert session.blocks == 3
    assert session.run().complete
    assert session.outcome.blocks == [1, 2, 3]
    assert session.plan.order[:2] == order
    assert len(session.requests()) == count + 3 * TURN
    before, after = session.requests()[count - 1], session.requests()[count]
    assert before.finished <= after.sent
    assert session.outcome.note == ""
    assert session.summary()["blocks"] == 3


@pytest.mark.slow
def test_ctrl_c_keeps_the_requests_of_the_turn_that_it_cuts(slow):
    session = Session(slow, choice("fake", blocks=1))

    def interrupt():
        until(lambda: len(session.requests()) >= 3)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    outcome = session.run()
    thread.join()
    assert session.state == "stopped"
    assert outcome.note.startswith("Interrupted: 0 of 1 blocks")
    assert statuses(session).count("succeeded") >= 3
    assert "incomplete" in statuses(session)


@pytest.mark.slow
def test_a_session_is_extended_while_it_runs_and_after_its_end(client):
    session = Session(client, choice("fake", blocks=1))
    session._tell = lambda place: session.blocks == 1 and session.extend(1)
    session.run()
    assert session.outcome.blocks == [0, 1]
    session.extend(1)
    assert not session.outcome.complete
    session.run()
    assert session.outcome.blocks == [0, 1, 2]
    with pytest.raises(RequestError, match="more blocks"):
        session.extend(0)


@pytest.mark.slow
def test_a_load_is_cut_off_too():
    with serving(Script(startup=60.0)) as client:
        session = Session(client, choice("fake"))
        session._tell = lambda place: "loading" in place and session.stop()
        session.run()
        assert session.state == "stopped"
        assert session.requests() == []


def test_a_stop_before_the_run_lets_it_return_at_once(client):
    session = Session(client, choice())
    session.stop()
    assert session.run().requests == []
    assert session.state == "stopped"
    session.pause()
    session.resume()
    assert session.state == "stopped"


@pytest.mark.slow
def test_an_error_ends_it_and_what_was_measured_stays(client, monkeypatch):
    made = Choice.load

    def load(self, cell, block, tokens=None):
        if block == fail:
            raise HyperLlamaError("It broke.")
        return made(self, cell, block, tokens)

    monkeypatch.setattr(Choice, "load", load)
    session, fail = Session(client, choice("fake")), 1
    outcome = session.run()
    assert (session.state, session.error) == ("failed", "It broke.")
    assert outcome.note == "Ended early: It broke. 1 of 2 blocks were measured whole."
    assert outcome.blocks == [0]
    session, fail = Session(client, choice("fake")), 0
    with pytest.raises(HyperLlamaError, match="It broke"):
        session.run()
    assert session.state == "failed"


@pytest.mark.parametrize(
    ("targets", "fields", "error"),
    [
        (("nothing",), {}, RequestError),
        (("http://127.0.0.1:9",), {}, ServiceError),
        (("http://u:secret@127.0.0.1:9",), {}, RequestError),
        (("fake",), {"model": "none"}, ModelNotFoundError),
    ],
)
def test_what_cannot_be_measured_is_told_before_anything_is(client, targets, fields, error):
    with pytest.raises(error) as found:
        Session(client, Choice(**{"model": "tiny", "targets": targets, **fields}))
    assert "secret" not in str(found.value)


@pytest.mark.slow
def test_a_service_elsewhere_is_measured_with_the_clients_own_credential(tmp_path):
    keys = KeyStore(tmp_path / "keys.json")
    key, _ = keys.create(["admin"])
    env = {"HYPERLLAMA_KEYS": str(keys.path), "HYPERLLAMA_REQUIRE_KEYS": "1"}
    with serving(env=env) as own, own.serve(port=0) as listener:
        address = f"http://{next(iter(listener))['address']}"
        with Client(address, headers={"Authorization": f"Bearer {key}"}) as client:
            session = Session(client, choice("fake", blocks=1))
            session.run()
            assert session.plan.targets[0].url == address
            assert set(statuses(session)) == {"succeeded"}
            session.write(tmp_path / "run")
    written = [path.read_bytes() for path in (tmp_path / "run").iterdir()]
    assert not any(key.encode() in data for data in written)
    assert key not in json.dumps([each.plain() for each in session.plan.targets])
