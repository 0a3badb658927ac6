"""The queue in front of an engine's slots, against a model of what it has to do."""

import asyncio
import itertools
from collections import OrderedDict

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hyperllama_nb.errors import BusyError
from hyperllama_nb.service.admission import BUSY, Admission

CALLERS = "abc"


class Model:
    """What Admission promises, written as plainly as can be."""

    def __init__(self, slots, limit):
        self.slots, self.limit = slots, limit
        self.running = []
        self.rounds = OrderedDict()

    @property
    def queued(self):
        return sum(map(len, self.rounds.values()))

    def arrive(self, request, caller):
        """Return whether the request is let in at all."""
        if len(self.running) < self.slots and not self.queued:
            self.running.append(request)
        elif self.queued >= self.limit:
            return False
        else:
            self.rounds.setdefault(caller, []).append(request)
        return True

    def leave(self, request):
        if request in self.running:
            self.running.remove(request)
            self.next()
        else:
            for caller, queue in list(self.rounds.items()):
                if request in queue:
                    queue.remove(request)
                    if not queue:
                        del self.rounds[caller]

    def next(self):
        if self.rounds:
            caller, queue = next(iter(self.rounds.items()))
            self.running.append(queue.pop(0))
            self.rounds.move_to_end(caller)
            if not queue:
                del self.rounds[caller]

    def order(self):
        """Return those who wait, in the order in which they will run."""
        copy = Model(self.slots, self.limit)
        copy.rounds = OrderedDict((name, list(queue)) for name, queue in self.rounds.items())
        while copy.rounds:
            copy.next()
        return copy.running


class Request:
    """One request in a task of its own."""

    def __init__(self, admission, caller, *, tells):
        self.caller = caller
        self.runs = False
        self.place = None
        self.end = asyncio.Event()
        self.task = asyncio.create_task(self.run(admission, self.tell if tells else None))

    async def tell(self, place):
        self.place = place

    async def run(self, admission, tell):
        async with admission.slot(tell, caller=self.caller):
            self.runs = True
            try:
                await self.end.wait()
            finally:
                self.runs = False


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


ARRIVAL = st.tuples(st.just("arrive"), st.sampled_from(CALLERS), st.booleans())

STEPS = st.lists(
    st.one_of(
        *(ARRIVAL, ARRIVAL, ARRIVAL),
        st.tuples(st.just("finish"), st.integers(0, 9)),
        st.tuples(st.just("cancel"), st.integers(0, 9)),
        # Two at once, before anybody has had a chance to notice.
        st.tuples(st.just("both"), st.integers(0, 9), st.integers(0, 9)),
    ),
    max_size=40,
)


PASSED_BY = [("arrive", caller, True) for caller in "abba"]


@settings(max_examples=200)
@example(slots=1, limit=3, steps=PASSED_BY)
@given(slots=st.integers(1, 3), limit=st.integers(0, 5), steps=STEPS)
def test_it_does_what_the_model_does(slots, limit, steps):
    asyncio.run(follow(slots, limit, steps))


async def follow(slots, limit, steps):
    admission, model = Admission(slots, limit), Model(slots, limit)
    present = []
    for kind, *args in steps:
        if kind == "arrive":
            request = Request(admission, args[0], tells=args[1])
            await settle()
            if model.arrive(request, args[0]):
                present.append(request)
            else:
                with pytest.raises(BusyError, match=BUSY):
                    await request.task
        elif kind == "finish" and model.running:
            request = model.running[args[0] % len(model.running)]
            request.end.set()
            depart(request, model, present)
        elif kind == "cancel" and present:
            request = present[args[0] % len(present)]
            request.task.cancel()
            depart(request, model, present)
        elif kind == "both" and model.running and model.queued:
            waiting = model.order()
            left, done = waiting[args[0] % len(waiting)], model.running[args[1] % slots]
            done.end.set()
            depart(done, model, present)
            left.task.cancel()
            depart(left, model, present)
        await settle()
        compare(admission, model, present)
    for request in present:
        request.task.cancel()
    await settle()
    assert (admission.running, admission.queued, admission._queues) == (0, 0, {})
    assert len(asyncio.all_tasks()) == 1


def depart(request, model, present):
    model.leave(request)
    present.remove(request)


def compare(admission, model, present):
    assert {r for r in present if r.runs} == set(model.running)
    assert admission.running == len(model.running) <= admission.slots
    assert admission.queued == model.queued <= admission.limit
    assert not admission.queued or admission.running == admission.slots
    for place, request in enumerate(model.order(), 1):
        assert request.place in (None, place)


@pytest.mark.parametrize("leaves_first", [False, True])
def test_a_slot_that_is_handed_to_one_who_is_just_leaving_is_not_lost(leaves_first):
    async def run():
        admission = Admission(1, 10)
        holder = Request(admission, "a", tells=False)
        await settle()
        leaver, heir = (Request(admission, caller, tells=False) for caller in "bc")
        await settle()
        acts = [holder.end.set, leaver.task.cancel]
        for act in reversed(acts) if leaves_first else acts:
            act()
        await settle()
        assert heir.runs
        await holder.task
        assert leaver.task.cancelled()
        heir.end.set()
        await heir.task
        assert (admission.running, admission.queued) == (0, 0)

    asyncio.run(run())


@given(queues=st.lists(st.integers(0, 6), min_size=2, max_size=5))
def test_nobody_waits_for_more_than_one_request_of_each_other_caller(queues):
    async def served():
        admission = Admission(1, 100)
        order = []

        async def ask(caller):
            async with admission.slot(caller=caller):
                order.append(caller)
                await asyncio.sleep(0)

        async with admission.slot():
            callers = [f"caller {n}" for n, count in enumerate(queues) for _ in range(count)]
            tasks = [asyncio.create_task(ask(caller)) for caller in [*callers, "late"]]
            await settle()
        await asyncio.gather(*tasks)
        return order

    order = asyncio.run(served())
    before = order[: order.index("late")]
    assert all(before.count(caller) <= 1 for caller in before)
    for caller in set(order):
        turns = [place for place, name in enumerate(order) if name == caller]
        for one, other in itertools.pairwise(turns):
            between = order[one + 1 : other]
            assert all(between.count(name) == 1 for name in between)


def test_a_place_is_told_only_when_it_changes():
    async def places():
        admission = Admission(1, 10)
        told = []

        async def tell(place):
            told.append(place)

        async def ask(caller, report=None):
            async with admission.slot(report, caller=caller):
                await settle()

        async with admission.slot():
            tasks = [asyncio.create_task(ask("a")), asyncio.create_task(ask("b", tell))]
            await settle()
            # Whoever comes behind changes nothing for those before him.
            tasks += [asyncio.create_task(ask("b")) for _ in range(3)]
            await settle()
        await asyncio.gather(*tasks)
        return told

    assert asyncio.run(places()) == [2, 1]


def test_an_engine_that_was_made_smaller_gives_no_slot_until_it_has_one():
    async def run():
        admission = Admission(2, 10)
        async with admission.slot():
            async with admission.slot():
                admission.slots = 1
                waiting = Request(admission, "a", tells=False)
                await settle()
            await settle()
            assert not waiting.runs
        await settle()
        assert waiting.runs
        assert (admission.running, admission.queued) == (1, 0)
        waiting.end.set()
        await waiting.task

    asyncio.run(run())
