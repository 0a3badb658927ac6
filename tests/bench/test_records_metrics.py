"""Numbers of records, computed by hand."""

import pytest

from hyperllama_nb.bench.metrics import METRICS, gaps, run_of, tokens_per_text
from hyperllama_nb.bench.throughput import Objectives, is_good, system, window
from tests.bench.making import request


def test_a_request_in_closed_load():
    run = run_of(request(scheduled=-1.0))
    assert run.time_to_first_token == 0.5
    assert run.latency == 0.8
    assert run.time_per_output_token == pytest.approx(0.1)
    assert run.decode_rate == pytest.approx(10)
    assert run.prompt_rate == 20
    assert gaps(request()) == pytest.approx([0.1, 0.2])
    assert tokens_per_text(request()) == pytest.approx(4 / 3)


def test_open_load_counts_from_the_schedule_so_that_a_stall_shows():
    stalled = request(concurrency=None, rate=2.0, scheduled=-3.0)
    assert run_of(stalled).time_to_first_token == 3.5
    assert run_of(stalled).latency == 3.8


@pytest.mark.parametrize(
    "one",
    [
        request(status="failed", error="x"),
        request(status="incomplete", error="x"),
        request(texts=(), output_tokens=0),
    ],
)
def test_what_is_unknown_has_no_value(one):
    assert all(list(metric.values(one)) == [] for metric in METRICS.values())


def test_counts_that_a_server_does_not_tell_make_no_number():
    quiet = request(output_tokens=None, cached_tokens=None)
    assert run_of(quiet).time_per_output_token is None
    assert run_of(quiet).prompt_rate is None
    assert run_of(quiet).latency == 0.8
    assert system([quiet]).output_rate is None


def test_the_system_in_a_closed_load_of_one():
    later = {"sent": 1.0, "texts": (1.5, 1.75, 2.0), "finished": 2.0}
    bad = request(index=2, sent=2.0, texts=(), finished=2.0, status="failed", error="x")
    found = system([request(warmup=True), request(), request(index=1, **later), bad])
    assert found.output_rate == 4
    assert found.request_rate == 1
    assert found.in_flight == pytest.approx(0.9)  # of two seconds, 0.2 had no request
    assert found.failed_share == pytest.approx(1 / 3)
    assert found.incomplete_share == 0


def test_the_window_leaves_out_the_ramps_of_a_load():
    four = [
        request(index=k, sent=sent, finished=end, concurrency=2)
        for k, (sent, end) in enumerate([(0.0, 2.0), (1.0, 3.0), (2.0, 4.0), (3.0, 6.0)])
    ]
    assert (window(four).start, window(four).end, window(four).steady) == (1.0, 4.0, True)
    assert not window(four[:3]).steady
    assert window([]) is None


def test_objectives():
    assert is_good(request(), Objectives(ttft=0.5, tpot=0.11, e2e=0.8))
    assert is_good(request(), Objectives(ttft=0.4)) is False
    assert is_good(request(status="failed", error="x"), Objectives()) is False
    assert is_good(request(output_tokens=None), Objectives(tpot=0.1)) is None
    assert is_good(request(texts=(0.5,), output_tokens=1), Objectives(tpot=0.1))
