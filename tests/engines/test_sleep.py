"""The sleep of an idle engine: when it begins, what ends it, and that nothing is left of it."""

import asyncio
import os
import random
import signal

import psutil

from hyperllama_nb.engines.group import members
from hyperllama_nb.engines.sleep import Sleep
from tests.engines.test_process import ANSWER, PATIENCE, SLEEP, UNIX, gone, process, run

SOON = 0.1
"""Seconds to the sleep, in place of two."""


def stopped(pid):
    return [p.status() == psutil.STATUS_STOPPED for p in members(pid)]


async def until(condition):
    while not condition():  # noqa: ASYNC110  what the system does to a process is no event
        await asyncio.sleep(0.01)


async def ask(wire):
    return [event.text async for event in wire.stream([1], {"model": "m"})]


# -- when ------------------------------------------------------------------------------------------


def test_it_sleeps_only_where_that_is_allowed_and_nobody_is_there():
    async def work():
        said = []
        sleep = Sleep(lambda word: said.append(word) or True)
        with sleep.awake():
            pass
        await asyncio.sleep(3 * SOON)
        assert said == []
        with sleep.awake():
            sleep.allow(SOON)
            with sleep.awake():
                await asyncio.sleep(3 * SOON)
            await asyncio.sleep(3 * SOON)
            assert said == []
        await until(lambda: sleep.asleep)
        assert said == ["stop"]
        with sleep.awake(), sleep.awake():
            assert not sleep.asleep
            assert said == ["stop", "continue"]
        sleep.forbid()
        await asyncio.sleep(3 * SOON)
        assert said == ["stop", "continue"]

    run(work())


def test_an_engine_whose_guard_hears_nothing_is_not_taken_for_asleep():
    async def work():
        sleep = Sleep(lambda word: False)
        sleep.allow(0.0)
        await asyncio.sleep(SOON)
        assert not sleep.asleep

    run(work())


def test_an_idle_engine_is_stopped_and_answers_when_it_is_asked(own_place):
    async def work():
        async with process(own_place, ANSWER + UNIX) as engine:
            wire = await engine.wait_ready("m", PATIENCE)
            await asyncio.sleep(2 * SOON)
            assert stopped(engine.pid) == [False]
            engine.sleep.allow(SOON)
            for _ in range(3):
                await until(lambda: all(stopped(engine.pid)))
                assert engine.sleep.asleep
                assert engine.memory() > 1_000_000
                assert await ask(wire) == ["a", ""]
                assert not engine.sleep.asleep

    run(work())


def test_requests_at_any_time_around_the_beginning_of_a_sleep_are_answered(own_place):
    chance = random.Random(4)

    async def work():
        async with process(own_place, ANSWER + UNIX) as engine:
            wire = await engine.wait_ready("m", PATIENCE)
            engine.sleep.allow(0.02)
            for _ in range(100):
                await asyncio.sleep(chance.uniform(0.015, 0.025))
                assert await ask(wire) == ["a", ""]

    run(work())


def test_whoever_looks_at_a_sleeping_engine_wakes_it(own_place):
    async def work():
        async with process(own_place, ANSWER + UNIX) as engine:
            wire = await engine.wait_ready("m", PATIENCE)
            engine.sleep.allow(SOON)
            await until(lambda: all(stopped(engine.pid)))
            assert await wire.health()
            assert "choices" in await wire.metrics()

    run(work())


# -- ends ------------------------------------------------------------------------------------------


def test_a_sleeping_engine_ends_by_the_same_signal_as_one_that_is_awake(own_place):
    async def work():
        async with process(own_place, SLEEP) as engine:
            engine.sleep.allow(0.0)
            await until(lambda: all(stopped(engine.pid)))
            await engine.stop()
            assert engine.returncode == -signal.SIGTERM
            assert gone(engine.pid)

    run(work())


def test_a_sleeping_engine_that_is_killed_is_missed(own_place):
    async def work():
        async with process(own_place, SLEEP) as engine:
            engine.sleep.allow(0.0)
            await until(lambda: all(stopped(engine.pid)))
            os.kill(engine.pid, signal.SIGKILL)
            assert await engine.wait() == -signal.SIGKILL
            with engine.sleep.awake():
                pass

    run(work())


def test_the_guards_death_does_not_leave_a_sleeping_engine(own_place):
    async def work():
        async with process(own_place, SLEEP) as engine:
            engine.sleep.allow(0.0)
            await until(lambda: all(stopped(engine.pid)))
            engine._guard.kill()
            await engine.wait()
            await until(lambda: gone(engine.pid))
            await engine.stop()
            assert not engine.workdir.exists()

    run(work())
