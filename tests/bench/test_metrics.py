"""Formulas, on a made-up clock."""

import pytest

from hyperllama_nb.bench import Run, measure, repeat, statistic


def test_formulas():
    run = Run(sent=10.0, first=10.5, last=12.5, prompt_tokens=7, output_tokens=41)
    assert run.latency == 2.5
    assert run.time_to_first_token == 0.5
    assert run.decode_rate == 20.0


@pytest.mark.parametrize(
    "run",
    [
        Run(sent=0.0, first=None, last=None, output_tokens=0),
        Run(sent=0.0, first=1.0, last=1.0, output_tokens=1),
        Run(sent=0.0, first=1.0, last=1.0, output_tokens=5),
        Run(sent=0.0, first=1.0, last=2.0, output_tokens=None),
    ],
)
def test_a_rate_that_nobody_can_know_is_none(run):
    assert run.decode_rate is None


def test_unknown_values_are_left_out_of_a_statistic():
    assert statistic([1.0, None, 3.0]) == (2.0, 1.0, 3.0)
    assert statistic([None]) == (None, None, None)


class FakeClient:
    def __init__(self, chunks):
        self.chunks, self.calls = chunks, 0

    def generate(self, model, prompt, *, stream, options):
        self.calls += 1
        return FakeStream(self.chunks)


class FakeStream(list):
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def test_empty_chunks_are_no_tokens_and_the_count_is_the_services():
    chunks = [{"response": ""}, {"response": "a"}, {"response": "bc"}]
    end = {"response": "", "done": True, "eval_count": 5, "prompt_eval_count": 3}
    ticks = iter([1.0, 2.0, 3.0])
    run = measure(FakeClient([*chunks, end]), "m", "p", clock=lambda: next(ticks))
    assert run == Run(sent=1.0, first=2.0, last=3.0, prompt_tokens=3, output_tokens=5)
    assert run.decode_rate == 4.0


def test_the_warm_up_is_not_counted():
    client = FakeClient([{"response": "a", "done": True, "eval_count": 1}])
    assert len(list(repeat(client, "m", "p", 3))) == 3
    assert client.calls == 4
