"""The load generator against engines whose behaviour is a script."""

import asyncio
import time

import pytest

from hyperllama_nb.bench import generator, workloads
from hyperllama_nb.bench.drive import Generator
from hyperllama_nb.bench.records import Cell, Load, Request, Target
from hyperllama_nb.errors import RequestError
from hyperllama_nb.testing import FakeEngine, Script

ONE = Cell("one", concurrency=1, requests=1, warmup=0)


async def measure(script, cell=ONE, output=4, patience=30.0, **limits):
    """Return the records of a turn against an engine of this script."""
    found = []
    async with FakeEngine(script) as engine:
        target = Target("fake", "openai", f"unix:{engine.socket}", "tiny")
        load = workloads.fixed(cell.warmup + cell.requests, 8, output)
        turn = generator.Turn(
            target,
            cell,
            load,
            0,
            found.append,
            start=time.perf_counter(),
            patience=patience,
            **limits,
        )
        await turn.run()
    return found


def run(*args, **kwargs):
    return asyncio.run(measure(*args, **kwargs))


ENDLESS = Script(pieces=["x"], repeat=1000)


def test_an_answer_has_the_time_of_each_text_and_the_servers_counts():
    (found,) = run(Script(pieces=["a", "b", "c", "d"], delay_first=0.05, delay=0.03))
    assert (found.status, found.error, found.output_tokens) == ("succeeded", None, 4)
    assert len(found.texts) == 4
    assert found.texts[0] - found.sent >= 0.05
    assert found.texts[3] - found.texts[0] >= 0.09
    assert found.finished >= found.texts[-1]
    assert found.prompt_tokens is not None


def test_pieces_with_several_tokens_are_one_text_each():
    (found,) = run(Script(pieces=["a", "b", "c", "d"], bundle=2))
    assert (len(found.texts), found.output_tokens) == (2, 4)


def test_half_characters_are_no_text():
    (found,) = run(Script(pieces=["a", "b"], halves=True))
    assert (len(found.texts), found.output_tokens) == (2, 2)


def test_counts_that_nobody_told_are_unknown():
    (found,) = run(Script(usage=False))
    assert (found.status, found.output_tokens, found.prompt_tokens) == ("succeeded", None, None)


def test_an_early_stop_shows_in_the_counts():
    (found,) = run(Script(pieces=["a", "b"]), output=10)
    assert (found.status, found.output_tokens, found.asked_output) == ("succeeded", 2, 10)


@pytest.mark.parametrize(
    ("script", "error", "texts"),
    [
        (Script(status=429, error="Too many."), "status 429", 0),
        (Script(error_after=2, error="Broken."), "Broken.", 2),
        (Script(die_after=3), "closed the connection", 3),
    ],
    ids=["refused", "error in the tail", "dies in the tail"],
)
def test_a_failure_keeps_its_reason_and_what_came_before_it(script, error, texts):
    (found,) = run(script)
    assert found.status == "failed"
    assert error in found.error
    assert len(found.texts) == texts


def test_an_answer_without_an_end_fails():
    (found,) = run(Script(stall_after=2), patience=0.2)
    assert (found.status, len(found.texts)) == ("failed", 2)
    assert "0.2 s" in found.error


def test_a_closed_loop_sends_everything_with_warm_ups_apart():
    found = run(ENDLESS, Cell("3", concurrency=3, requests=7, warmup=2))
    assert sorted((r.warmup, r.index) for r in found) == [
        *((False, n) for n in range(7)),
        *((True, n) for n in range(2)),
    ]
    warm = max(r.finished for r in found if r.warmup)
    assert all(r.sent >= warm for r in found if not r.warmup)


def test_a_stalled_server_shows_in_the_latency_from_schedule():
    script = Script(pieces=["a"], delay_first=0.1, slots=1)
    found = run(script, Cell("fast", rate=100, requests=5, warmup=0))
    found.sort(key=lambda request: request.index)
    assert found[4].scheduled - found[0].scheduled == pytest.approx(0.04)
    assert found[4].texts[-1] - found[4].scheduled >= 0.4


def test_requests_that_find_no_connection_are_late_and_not_lost():
    script = Script(pieces=["a"], delay_first=0.1)
    found = run(script, Cell("fast", rate=100, requests=4, warmup=0), connections=1)
    assert [request.status for request in found] == ["succeeded"] * 4
    assert max(request.lag for request in found) >= 0.2


def test_arrivals_are_the_same_for_every_target_and_depend_on_the_seed():
    cell = Cell("p", rate=10, arrival="poisson", requests=2000)
    one = generator.arrivals(cell, Load("x", (), seed=1), 0)
    assert one == generator.arrivals(cell, Load("x", (), seed=1), 0)
    assert one != generator.arrivals(cell, Load("x", (), seed=2), 0)
    assert one == sorted(one)
    assert one[-1] / 2000 == pytest.approx(0.1, rel=0.1)


def test_too_few_prompts_are_refused():
    target = Target("t", "openai", "unix:/x", "tiny")
    with pytest.raises(RequestError, match="prompts"):
        generator.Turn(target, ONE, Load("none", ()), 0, print, start=0.0)


def test_records_go_through_json():
    (found,) = run(Script())
    assert Request.from_plain(found.plain()) == found


@pytest.mark.slow
def test_the_process_measures_is_cut_off_and_measures_again(thread_engine):
    target = Target("fake", "openai", f"unix:{thread_engine(Script(delay=0.05))}", "tiny")
    load = workloads.fixed(8, 8, 4)
    cell = Cell("2", concurrency=2, requests=8, warmup=0)
    with Generator() as drive:
        next(records := drive.records(target, cell, load, 0))
        records.close()
        assert {request.status for request in drive.cut} <= {"succeeded", "incomplete"}
        assert any(request.status == "incomplete" for request in drive.cut)
        assert len(drive(target, cell, load, 1)) == 8
    assert drive._process.poll() == 0


@pytest.fixture
def thread_engine():
    """Run engines in a thread of this process until the test ends."""
    import threading

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    engines = []

    def start(script):
        engine = FakeEngine(script)
        asyncio.run_coroutine_threadsafe(engine.start(), loop).result(30)
        engines.append(engine)
        return engine.socket

    yield start
    for engine in engines:
        asyncio.run_coroutine_threadsafe(engine.stop(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
