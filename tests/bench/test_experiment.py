"""Experiments on a service with a FakeEngine: turns, loads, what is used, and the ends."""

import pytest

from hyperllama_nb.bench.experiment import Experiment, Plan
from hyperllama_nb.bench.records import Cell, Load, Target
from hyperllama_nb.client import Client
from hyperllama_nb.errors import ConflictError, HyperLlamaError
from hyperllama_nb.testing import Script
from tests.bench.test_rundir import request
from tests.service.hosting import hosting

pytestmark = pytest.mark.slow  # loads of engines, one after another

CELLS = (Cell("c1", concurrency=1), Cell("c4", concurrency=4))
ORDER = (("x", "y"), ("y", "x"), ("x", "y"))


@pytest.fixture(scope="module")
def service():
    with hosting("thread") as running:
        yield running


@pytest.fixture
def client(service):
    with Client(f"unix:{service.socket}") as found:
        yield found


def plan():
    targets = tuple(
        Target(name, "service", "unused", "tiny", backend="fake") for name in ("x", "y")
    )
    return Plan(targets, CELLS, ORDER, lambda cell, block: Load(f"{cell.name}-{block}", ()))


class Driver:
    """Notes its turns and what was loaded; raises in a turn if told to."""

    def __init__(self, client, end=None):
        self.client, self.end, self.turns = client, end, []

    def __call__(self, target, cell, load, block):
        if self.end and self.end[0] == len(self.turns):
            raise self.end[1]
        engines = [engine["model"] for engine in self.client.status()["engines"]]
        self.turns.append((block, target.name, cell.name, load.name))
        assert engines == ["tiny:latest"]
        return [request(target=target.name, cell=cell.name, block=block)]


def test_all_targets_take_their_turns_in_the_order_of_the_blocks(service, client):
    told = []
    driver = Driver(client)
    outcome = Experiment(client, plan(), driver, told.append).run()
    assert outcome.complete
    assert outcome.blocks == [0, 1, 2]
    expected = [(b, name, c.name) for b, names in enumerate(ORDER) for name in names for c in CELLS]
    assert [turn[:3] for turn in driver.turns] == expected
    assert {turn[3] for turn in driver.turns if turn[:1] == (1,)} == {"c1-1", "c4-1"}
    assert told[0] == "block 1 of 3: x"
    assert [(load.target, load.first) for load in outcome.loads][:3] == [
        ("x", True),
        ("y", True),
        ("y", False),
    ]
    assert all(sum(s for _, s in load.phases) <= load.seconds + 1e-6 for load in outcome.loads)
    assert outcome.engines["x"]["backend"] == "fake"
    assert outcome.usage["x"].memory_peak
    assert service.status()["engines"] == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), HyperLlamaError("It died.")])
def test_what_was_measured_before_the_end_is_kept(client, error):
    outcome = Experiment(client, plan(), Driver(client, (6, error)), str).run()
    assert not outcome.complete
    assert "1 of 3 blocks" in outcome.note
    assert outcome.blocks == [0]
    assert len(outcome.requests) == 6
    assert client.status()["engines"] == []


def test_a_target_that_never_answers_is_an_error(client):
    driver = Driver(client, (1, HyperLlamaError("It died.")))
    with pytest.raises(HyperLlamaError, match="died"):
        Experiment(client, plan(), driver, str).run()


def test_nobody_elses_answer_is_broken_off():
    slow = Script(repeat=1000, delay=0.05)
    with (
        hosting("thread", (slow,)) as service,
        Client(f"unix:{service.socket}") as client,
        client.generate("tiny", "Hello", stream=True) as stream,
    ):
        next(iter(stream))
        with pytest.raises(ConflictError, match="answering somebody"):
            Experiment(client, plan(), Driver(client), str).run()
        assert len(client.status()["engines"]) == 1
