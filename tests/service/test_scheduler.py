"""The manager against all that can happen, in any order: a state machine over a simulation."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hyperllama_nb.service import room
from tests.service.simulation import CAPACITY, SIZES, Request, World, key

MODELS = st.sampled_from(sorted(SIZES))

ROUNDS = 300
"""So many times the remaining requests are helped along; each needs a few rounds at most."""


async def heard(line):
    """Take a progress line, as a client that reads does."""
    await asyncio.sleep(0)


async def unheard(line):
    """Fail to send a progress line, as to a client that has gone."""
    await asyncio.sleep(0)
    raise ConnectionResetError


class Scheduler(RuleBasedStateMachine):
    """Requests come, end and leave, engines load, fail and die, time passes."""

    def __init__(self):
        super().__init__()
        self.world = None
        self.settled = True
        self.leases = []
        self.unloads = []

    @initialize(slots=st.integers(1, 2), max_queue=st.integers(0, 3), max_loaded=st.integers(0, 2))
    def begin(self, slots, max_queue, max_loaded):
        self.world = World(slots, max_queue, max_loaded)

    # What happens

    @rule(
        model=MODELS,
        caller=st.sampled_from("pqr"),
        context=st.sampled_from([None, None, 100, 5000, 9000, 10**6]),
        keep_alive=st.sampled_from([None, None, 0.0, 2.0, float("inf")]),
        backend=st.sampled_from([None, None, None, "x", "y"]),
        leased=st.booleans(),
        report=st.sampled_from([None, None, heard, unheard]),
        settled=st.booleans(),
    )
    def ask(self, model, caller, context, keep_alive, backend, leased, report, settled):
        lease = self.leases[0].id if leased and self.leases else None
        fields = {"context": context, "keep_alive": keep_alive, "backend": backend}
        fields |= {"lease": lease, "report": report}
        if settled:
            self.world.settle()
        request = Request(self.world, model, caller, **fields)
        self.settled = settled
        if not settled:
            return
        engine = self.world.manager.engines.get(key(model))
        ready = engine is not None and engine.state == "ready"
        most = self.world.max_queue + self.world.slots if ready else max(1, self.world.max_queue)
        self.world.settle()
        assert (request.stage == "refused") == (request.present >= most)

    @precondition(lambda self: self.world.requests)
    @rule(number=st.integers(0, 99), settled=st.booleans())
    def leave(self, number, settled):
        requests = self.world.requests
        requests[number % len(requests)].task.cancel()
        self.settled = settled

    @precondition(lambda self: self.running)
    @rule(number=st.integers(0, 99), settled=st.booleans())
    def finish(self, number, settled):
        self.running[number % len(self.running)].end.set()
        self.settled = settled

    @precondition(lambda self: self.world.loading)
    @rule(works=st.sampled_from([True, True, True, False]), settled=st.booleans())
    def end_load(self, works, settled):
        self.world.loading[0].ready.set_result(works)
        self.settled = settled

    @precondition(lambda self: self.world.alive)
    @rule(number=st.integers(0, 99))
    def die(self, number):
        process = self.world.alive[number % len(self.world.alive)]
        if process.ready.done():
            process.die(1)
        self.world.settle()

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.0, 20.0, 400.0]))
    def pass_time(self, seconds):
        self.world.pass_time(seconds)

    @rule(model=MODELS)
    def unload_soon(self, model):
        async def call():
            self.world.manager.unload_soon(key(model))

        self.world.run(call())
        self.world.settle()

    @rule(model=MODELS)
    def unload(self, model):
        work = self.world.manager.unload(key(model))
        self.unloads.append(self.world.loop.create_task(work))
        self.world.settle()

    @precondition(lambda self: self.unloads)
    @rule()
    def give_up_unloading(self):
        self.unloads.pop().cancel()
        self.world.settle()

    @rule()
    def open_lease(self):
        self.leases.append(self.world.manager.open_lease("test", None))

    @precondition(lambda self: self.leases)
    @rule()
    def close_lease(self):
        self.world.manager.close_lease(self.leases.pop(0))
        self.world.settle()

    # What must hold

    @property
    def running(self):
        return [r for r in self.world.requests if r.stage == "running" and not r.end.is_set()]

    @property
    def engines(self):
        return list(self.world.manager.engines.values())

    @invariant()
    def all_is_well(self):
        if self.world is None:
            return
        self.memory_and_count_hold()
        if self.settled:
            self.world.settle()
            self.memory_and_count_hold()
            self.nobody_waits_for_nothing()
            self.everybody_is_counted_once()
            self.the_first_in_line_loads_as_soon_as_it_can()
        self.settled = True

    def memory_and_count_hold(self):
        assert self.world.wrongs == []
        assert self.world.used <= CAPACITY
        assert len(self.world.alive) <= (self.world.max_loaded or len(SIZES))
        assert len(self.world.loading) <= 1
        for engine in self.engines:
            for lease in engine.leases:
                assert engine.model in self.world.manager.leases[lease].models

    def nobody_waits_for_nothing(self):
        for engine in self.engines:
            queue = engine.admission
            assert queue.running <= queue.slots
            assert queue.queued <= self.world.max_queue
            assert not queue.queued or queue.running == queue.slots
        for request in self.world.requests:
            # Not for two turns of anybody else, either.
            assert len(set(request.overtaken)) == len(request.overtaken)

    def everybody_is_counted_once(self):
        here = [request.model for request in self.world.requests]
        for model in SIZES:
            assert self.world.manager.desks.present(key(model)) == here.count(model)
        for engine in self.engines:
            mine = [r for r in self.world.requests if r.engine is engine]
            if engine.state == "ready":
                assert engine.users == len(mine)
            assert engine.admission.running == len([r for r in mine if r.stage == "running"])
            assert engine.waiting <= max(1, self.world.max_queue)

    def the_first_in_line_loads_as_soon_as_it_can(self):
        room = self.world.manager._room
        ending = [engine for engine in self.engines if engine.state == "stopping"]
        if not room._line or room._loading.locked() or ending:
            return
        first = next(iter(room._line))
        others = [engine for engine in self.engines if engine.resident]
        assert not any(engine.idle for engine in others)
        most = self.world.max_loaded
        size = SIZES[first.manifest.name.model]
        assert (most and len(others) >= most) or self.world.used + size > CAPACITY

    def teardown(self):
        if self.world is None:
            return
        try:
            self.come_to_an_end()
        finally:
            left = self.world.close()
        assert left == []

    def come_to_an_end(self):
        """Help every request to its end: none may wait for ever."""
        for _ in range(ROUNDS):
            if not self.world.requests:
                break
            for process in self.world.loading:
                process.ready.set_result(True)
            for request in self.running:
                request.end.set()
            self.world.pass_time(1.0)
        assert [(r.model, r.stage) for r in self.world.requests] == []
        for unload in self.unloads:
            unload.cancel()
        self.world.settle()
        manager = self.world.manager
        assert not manager.busy
        for engine in manager.engines.values():
            assert (engine.users, engine.admission.running, engine.admission.queued) == (0, 0, 0)


Scheduler.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, report_multiple_bugs=False
)
TestScheduler = Scheduler.TestCase


# Single stories that the state machine would meet rarely


@pytest.fixture
def world():
    made = World(slots=1, max_queue=9, max_loaded=0)
    yield made
    assert made.close() == []


def load(world, model, *, used=False):
    """Load a model, and use it if wanted; returns the request."""
    request = Request(world, model)
    world.settle()
    world.loading[0].ready.set_result(True)
    world.settle()
    assert request.stage == "running"
    if not used:
        request.end.set()
        world.settle()
    return request


def alive(world):
    return sorted(process.engine.manifest.name.model for process in world.alive)


def test_a_small_model_overtakes_a_large_one_that_waits_but_not_for_ever(world):
    first = load(world, "a", used=True)
    large = Request(world, "c")
    world.pass_time(1)
    small = load(world, "b")
    assert (small.stage, large.stage) == ("done", "arrived")
    # The first in line takes the room of the idle at once, and then runs out of patience.
    assert alive(world) == ["a", "b"]
    world.pass_time(1)
    assert alive(world) == ["a"]
    world.pass_time(room.TURN)
    late = Request(world, "b")
    again = Request(world, "a")
    world.pass_time(1)
    assert (alive(world), world.loading) == (["a"], [])
    assert [r.stage for r in (late, again)] == ["arrived", "arrived"]
    first.end.set()
    world.pass_time(1)
    assert alive(world) == ["c"]
    world.loading[0].ready.set_result(True)
    world.settle()
    assert large.stage == "running"
    large.end.set()
    for _ in range(2):
        world.pass_time(1)
        world.loading[0].ready.set_result(True)
        world.settle()
        for request in (late, again):
            request.end.set()
        world.settle()
    assert (late.stage, again.stage) == ("done", "done")


def test_the_least_recently_used_makes_room_and_a_leased_one_last(world):
    lease = world.manager.open_lease("test", None)
    leased = Request(world, "a", lease=lease.id)
    world.settle()
    world.loading[0].ready.set_result(True)
    leased.end.set()
    world.pass_time(1)
    load(world, "b")
    world.pass_time(1)
    Request(world, "c")
    world.settle()
    ending = [e.model for e in world.manager.engines.values() if e.state == "stopping"]
    assert ending == ["b:latest"]
    world.pass_time(2)
    assert alive(world) == ["c"]
    world.loading[0].ready.set_result(True)
    world.requests[0].end.set()
    world.settle()


def test_the_batch_that_was_planned_comes_back_when_room_was_made(world):
    first = load(world, "a", used=True)
    world.slots = 4
    large = Request(world, "c")
    world.settle()
    (waiting,) = world.manager._room._line
    assert (waiting.spec.batch, waiting.admission.slots) == (4, 4)
    first.end.set()
    world.pass_time(2)
    world.loading[0].ready.set_result(True)
    world.settle()
    assert large.engine.admission.slots == 4
    large.end.set()
    world.settle()


def test_a_load_that_fails_is_told_to_all_who_wait_and_tried_again_for_the_next(world):
    waiting = [Request(world, "a") for _ in range(3)]
    world.settle()
    world.loading[0].ready.set_result(False)
    world.pass_time(1)
    assert [request.stage for request in waiting] == ["failed"] * 3
    load(world, "a")


@pytest.mark.parametrize("why", ["outgrown", "dead"])
def test_what_replaces_an_engine_is_held_as_it_was(world, why):
    lease = world.manager.open_lease("test", None)
    first = Request(world, "a", lease=lease.id, keep_alive=float("inf"))
    world.settle()
    world.loading[0].ready.set_result(True)
    first.end.set()
    world.settle()
    if why == "dead":
        world.alive[0].die(1)
    second = Request(world, "a", context=9000)
    world.pass_time(1)
    world.loading[0].ready.set_result(True)
    second.end.set()
    world.settle()
    assert second.engine is not first.engine
    assert second.engine.leases == {lease.id}
    world.manager.close_lease(lease)
    assert second.engine.keep_alive == float("inf")


def test_what_replaces_an_engine_that_was_unloaded_is_not(world):
    first = Request(world, "a", keep_alive=float("inf"))
    world.settle()
    world.loading[0].ready.set_result(True)
    first.end.set()
    world.settle()
    unloading = world.loop.create_task(world.manager.unload(key("a")))
    world.settle()
    second = Request(world, "a")
    world.pass_time(1)
    world.loading[0].ready.set_result(True)
    second.end.set()
    world.settle()
    assert unloading.result()
    assert second.engine.keep_alive == 300.0
