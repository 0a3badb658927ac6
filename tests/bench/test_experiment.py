"""Experiments on a service with a FakeEngine: turns, loads, what is used, and the ends."""

import pytest

from hyperllama_nb.bench.drive import Stopped
from hyperllama_nb.bench.experiment import Experiment, Outcome, Plan
from hyperllama_nb.bench.records import Cell, Load, Target
from hyperllama_nb.bench.serving import Own
from hyperllama_nb.client import Client
from hyperllama_nb.errors import ConflictError, HyperLlamaError
from hyperllama_nb.testing import Script, install_tiny
from tests.bench.making import request
from tests.service.hosting import hosting

pytestmark = pytest.mark.slow  # loads of engines, one after another

CELLS = (Cell("c1", concurrency=1), Cell("c4", concurrency=4))
ORDER = (("x", "y"), ("y", "x"), ("x", "y"))


@pytest.fixture(scope="module")
def service():
    with hosting("thread") as running:
        install_tiny(running.store, "other")
        yield running


@pytest.fixture
def client(service):
    with Client(f"unix:{service.socket}") as found:
        yield found


def outcome(**options):
    targets = tuple(
        Target(name, "service", "unused", "tiny", options, backend="fake") for name in ("x", "y")
    )
    plan = Plan(targets, CELLS, ORDER, lambda cell, block: Load(f"{cell.name}-{block}", ()))
    return Outcome(plan)


class Driver:
    """Notes its turns and what was loaded; does something in a turn if told to."""

    def __init__(self, client, at=None, act=None):
        self.client, self.at_turn, self.act = client, at, act
        self.turns, self.options, self.cut, self.places = [], [], [], []
        self.grown = 0

    def records(self, target, cell, load, block):
        turn = len(self.turns)
        self.turns.append((block, target.name, cell.name, load.name))
        self.options.append(target.options)
        loaded = [engine["model"] for engine in self.client.status()["engines"]]
        assert loaded == ["tiny:latest"]
        yield request(target=target.name, cell=cell.name, block=block)
        if turn == self.at_turn:
            self.cut.append(request(target.name, block, 1, cell=cell.name, status="incomplete"))
            self.act()

    def at(self, place):
        self.places.append(place)

    def grew(self):
        self.grown += 1

    def rest(self):
        pass


def raising(error):
    def act():
        raise error

    return act


def test_all_targets_take_their_turns_in_the_order_of_the_blocks(service, client):
    driver, found = Driver(client), outcome()
    experiment = Experiment(Own(client), found, driver, driver)
    for number in range(3):
        experiment.block(number)
    assert found.blocks == [0, 1, 2]
    expected = [(b, name, c.name) for b, names in enumerate(ORDER) for name in names for c in CELLS]
    assert [turn[:3] for turn in driver.turns] == expected
    assert {turn[3] for turn in driver.turns if turn[:1] == (1,)} == {"c1-1", "c4-1"}
    assert driver.places[:4] == ["making prompts", "loading x", "x, c1", "x, c4"]
    assert [(load.target, load.first) for load in found.loads][:3] == [
        ("x", True),
        ("y", True),
        ("y", False),
    ]
    assert len(found.loads) == 6
    assert driver.grown == len(found.loads) + len(found.requests)
    assert all(sum(s for _, s in load.phases) <= load.seconds + 1e-6 for load in found.loads)
    assert found.engines["x"]["backend"] == "fake"
    assert found.usage["x"].memory_peak
    assert found.resident == {"x": set(), "y": set()}
    assert service.status()["engines"] == []


def test_answers_go_on_to_their_length_unless_that_is_not_wanted(client):
    driver = Driver(client)
    Experiment(Own(client), outcome(seed=1), driver, driver).block(0)
    assert driver.options == [{"ignore_eos": True, "seed": 1}] * 4
    driver = Driver(client)
    Experiment(Own(client), outcome(ignore_eos=False), driver, driver).block(0)
    assert driver.options == [{"ignore_eos": False}] * 4


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stopped, HyperLlamaError])
def test_what_was_measured_before_the_end_is_kept(client, error):
    driver, found = Driver(client, 6, raising(error("It died."))), outcome()
    experiment = Experiment(Own(client), found, driver, driver)
    experiment.block(0)
    with pytest.raises(error):
        experiment.block(1)
    assert found.blocks == [0]
    assert found.partial == {1}
    assert [each.status for each in found.requests] == ["succeeded"] * 7 + ["incomplete"]
    assert driver.cut == []
    assert client.status()["engines"] == []


def test_a_model_that_somebody_loads_meanwhile_is_noted(client):
    driver, found = Driver(client, 3, lambda: client.generate("other", keep_alive=60)), outcome()
    Experiment(Own(client), found, driver, driver).block(0)
    assert found.resident == {"x": set(), "y": {"other:latest"}}
    client.unload("other")


def test_an_engine_that_went_while_it_rested_is_loaded_again(client):
    driver, found = Driver(client), outcome()
    gone = iter([True])
    driver.rest = lambda: next(gone, False) and client.unload("tiny")
    Experiment(Own(client), found, driver, driver).block(0)
    assert [(load.target, load.first) for load in found.loads] == [
        ("x", True),
        ("x", False),
        ("y", True),
    ]


def test_nobody_elses_answer_is_broken_off():
    slow = Script(repeat=1000, delay=0.05)
    with (
        hosting("thread", (slow,)) as service,
        Client(f"unix:{service.socket}") as client,
        client.generate("tiny", "Hello", stream=True) as stream,
    ):
        next(iter(stream))
        driver = Driver(client)
        with pytest.raises(ConflictError, match="answering somebody"):
            Experiment(Own(client), outcome(), driver, driver).block(0)
        assert len(client.status()["engines"]) == 1
