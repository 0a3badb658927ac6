"""Rates out of totals, gaps where nothing is known, and bounds on what is kept and drawn."""

import math

import pytest

from hyperllama_nb.widgets._samples import COLUMNS, POINTS, WINDOWS, Samples

MACHINE = {
    "cpu_busy": 10.0,
    "cpu_total": 40.0,
    "cpu_cores": 2,
    "memory_total": 8 * 10**9,
    "memory_used": 2 * 10**9,
    "devices": [],
}
ENGINE = {
    "model": "m",
    "pid": 1,
    "state": "ready",
    "running": 1,
    "queued": 2,
    "batch": 1.5,
    "cache_used": 3,
    "cache_total": 12,
    "memory": 10**9,
    "cpu_seconds": 5.0,
}


def snapshot(clock, output=0, *, prompt=0, waits=(), service="a", engines=(ENGINE,), **machine):
    tally = {
        "output_tokens": output,
        "prompt_tokens": prompt,
        "first_tokens": len(waits),
        "waits": list(waits)[-64:],
    }
    return {
        "clock": clock,
        "service": service,
        "machine": {**MACHINE, **machine},
        "models": {"m": tally},
        "engines": list(engines),
    }


def test_a_rate_is_a_difference_over_the_last_second():
    samples = Samples(0.5)
    for step in range(9):
        samples.add(snapshot(step / 2, 20 * step, prompt=3 * step), 100 + step / 2)
    rows = samples.rows()
    assert (rows[0]["decode"], rows[0]["prompt"]) == (None, None)
    assert [row["decode"] for row in rows[1:]] == [40.0] * 8
    assert [row["prompt"] for row in rows[1:]] == [6.0] * 8
    # the pause is felt for a second and no longer
    samples.add(snapshot(4.5, 160), 104.5)
    samples.add(snapshot(5.0, 160), 105.0)
    assert [row["decode"] for row in samples.rows()[-2:]] == [20.0, 0.0]


def test_a_model_that_is_new_counts_from_nothing():
    samples = Samples(0.5)
    samples.add({**snapshot(0.0), "models": {}}, 0.0)
    samples.add(snapshot(1.0, 30, waits=[0.2]), 1.0)
    assert samples.last["decode"] == 30
    assert samples.last["first_token"] == 0.2


def test_tokens_that_are_taken_back_make_no_negative_rate():
    samples = Samples(0.5)
    samples.add(snapshot(0.0, 50), 0.0)
    samples.add(snapshot(0.5, 48), 0.5)
    assert samples.last["decode"] == 0


def test_gauges_are_taken_as_they_are():
    samples = Samples(0.5)
    samples.add(snapshot(0.0), 0.0)
    other = {**ENGINE, "pid": 2, "cpu_seconds": 9.0, "cache_used": None}
    engines = ({**ENGINE, "cpu_seconds": 5.5}, other)
    samples.add(snapshot(1.0, cpu_busy=10.5, cpu_total=42.0, engines=engines), 1.0)
    last = samples.last
    assert (last["running"], last["queued"], last["batch"]) == (2, 4, 3)
    assert (last["cache"], last["cpu"]) == (25, 25)
    assert last["engine_cpu"] == 25  # half a second of two cores, and a process that is new
    assert (last["memory"], last["engine_memory"]) == (2 * 10**9, 2 * 10**9)
    assert last["gpu"] is last["gpu_memory"] is last["gpu_power"] is None


def test_what_is_unknown_is_none_and_never_nothing():
    samples = Samples(0.5)
    engine = {**ENGINE, "batch": None, "cache_total": None}
    samples.add(snapshot(0.0, engines=[engine]), 0.0)
    nothing = {"cpu_busy": None, "cpu_total": None, "memory_used": 0}
    samples.add(snapshot(1.0, engines=[engine], **nothing), 1.0)
    unknown = {name for name in COLUMNS if samples.last[name] is None}
    gpu = {"gpu", "gpu_memory", "gpu_power"}
    assert unknown == {"batch", "cache", "cpu", "engine_cpu", "memory", "first_token"} | gpu


def test_an_accelerator_is_told_with_what_is_known_of_it():
    samples = Samples(0.5)
    device = {"memory": 8, "free": 2, "utilisation": 50, "power": 70.0}
    samples.add(snapshot(0.0, devices=[device, {**device, "utilisation": None}]), 0.0)
    last = samples.last
    assert (last["gpu"], last["gpu_memory"], last["gpu_power"]) == (50, 12, 140)
    samples.add(snapshot(0.5, devices=[device, {**device, "power": None}]), 0.5)
    assert samples.last["gpu_power"] is None


def test_a_service_that_is_new_is_no_difference_to_the_old_one():
    samples = Samples(0.5)
    samples.add(snapshot(100.0, 1000), 0.0)
    samples.gap(0.5, "not running")
    samples.add(snapshot(1.0, 10, service="b"), 1.0)
    samples.add(snapshot(2.0, 15, service="b"), 2.0)
    assert [row["decode"] for row in samples.rows()] == [None, None, None, 5.0]
    assert [row["state"] for row in samples.rows()] == ["ready", "not running", "ready", "ready"]


def test_one_snapshot_is_one_point_however_often_it_is_given():
    samples = Samples(0.2)
    samples.add(snapshot(1.0), 0.0)
    samples.add(snapshot(1.0), 0.2)
    assert len(samples) == 1


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ([], "no engine"),
        (["asleep", "asleep"], "asleep"),
        (["asleep", "ready"], "ready"),
        (["loading", "asleep"], "loading"),
        (["failed"], "failed"),
    ],
)
def test_the_state_is_that_of_the_most_awake_engine(states, told):
    samples = Samples(0.5)
    samples.add(snapshot(0.0, engines=[{**ENGINE, "state": state} for state in states]), 0.0)
    assert samples.last["state"] == told


def test_times_to_the_first_token_are_those_of_the_window():
    samples = Samples(0.5)
    samples.add(snapshot(0.0, waits=[9.0]), 0.0)  # begun before anybody watched
    samples.add(snapshot(1.0, waits=[9.0, 0.4, 0.2]), 1.0)
    samples.add(snapshot(50.0, waits=[9.0, 0.4, 0.2, 0.1]), 50.0)
    assert samples.rows()[1]["first_token"] == pytest.approx(0.3)
    assert samples.first_token(60) == (0.2, 0.1)
    assert samples.first_token(10) == (0.1, 0.1)
    assert Samples(0.5).first_token(60) == (None, None)


@pytest.mark.parametrize("interval", [0.2, 0.5, 1.0, 7.0])
def test_memory_and_traces_are_bounded_whatever_the_window(interval):
    samples = Samples(interval)
    for step in range(2 * math.ceil(WINDOWS[-1] / interval)):
        samples.add(snapshot(step * interval, 10 * step), step * interval)
    assert len(samples) <= math.ceil(WINDOWS[-1] / interval)
    for window in WINDOWS:
        ages, numbers = samples.trace(window)
        assert min(POINTS, window / interval) / 2 <= len(ages) <= POINTS
        assert {len(values) for values in numbers.values()} == {len(ages)}
        assert ages == sorted(ages)
        assert -window <= ages[0] <= ages[-1] <= 0
        rates = [rate for rate in numbers["decode"] if rate is not None]
        assert all(rate == pytest.approx(10 / interval, rel=1e-3) for rate in rates)


def test_a_thinned_line_keeps_its_form_while_it_moves():
    samples = Samples(0.2)
    for step in range(4200):
        samples.add(snapshot(step * 0.2, step * (step % 7)), step * 0.2)
    _, before = samples.trace(900)
    for step in range(4200, 4300):
        samples.add(snapshot(step * 0.2, step * (step % 7)), step * 0.2)
    _, after = samples.trace(900)
    tail = before["decode"][-100:-1]
    joined = [str(value) for value in after["decode"]]
    assert "|".join(map(str, tail)) in "|".join(joined)


def test_a_gap_stays_a_gap_where_neighbours_are_known():
    samples = Samples(0.5)
    samples.add(snapshot(0.0), 0.0)
    samples.add(snapshot(0.5, 10), 0.5)
    samples.gap(1.0, "paused")
    samples.add(snapshot(20.0, 10), 20.0)
    samples.add(snapshot(21.0, 20), 21.0)
    ages, numbers = samples.trace(60)
    assert ages == [-21.0, -20.5, -20.0, -1.0, 0.0]
    assert numbers["decode"] == [None, 20.0, None, None, 10.0]
