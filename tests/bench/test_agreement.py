"""The script that holds our numbers against other tools': what it computes, without the tools."""

import json
import time
from pathlib import Path

import httpx
import pytest

from hyperllama_nb.testing import Script
from tests.bench.making import request

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import agreement
    import loadtools
    import wiretap

    return agreement, loadtools, wiretap


def ask(url, tokens):
    body = {"model": "tiny", "prompt": "x", "max_tokens": tokens, "stream": True}
    body["stream_options"] = {"include_usage": True}
    answer = httpx.post(f"{url}/v1/completions", json=body)
    assert answer.status_code == 200
    return answer.text


def test_our_numbers_follow_both_definitions(scripts):
    _, loadtools, _ = scripts
    found = loadtools.numbers([request(), request(texts=(0.5, 0.6, 0.8))])
    assert found == pytest.approx({"ttft": 0.5, "tpot": 0.1, "itl": 0.15, "whole": 0.2})


def test_a_request_that_failed_is_no_number(scripts):
    _, loadtools, _ = scripts
    with pytest.raises(RuntimeError, match="failed: why"):
        loadtools.numbers([request(), request(status="failed", error="why")])


def test_the_tap_passes_everything_on_and_notes_texts_only(scripts):
    agreement, loadtools, wiretap = scripts
    script = Script(("a", "b", "c"), repeat=10, halves=True, delay=0.001)
    with wiretap.tapped_engine(script, "tiny") as (url, tap):
        assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "tiny"
        frames = [line for line in ask(url, 5).split("\n\n") if line]
        ask(url, 4)
        task = loadtools.Task(url, "tiny", Path(), 1, 5, 1, 1, 1)
        wire = agreement.passed(tap, task)
    assert frames[-1] == "data: [DONE]"
    assert json.loads(frames[-2].removeprefix("data: "))["usage"]["completion_tokens"] == 5
    assert [len(passage.texts) for passage in tap.passages] == [5, 4]
    last = tap.passages[1]
    assert wire["ttft"] == last.texts[0] - last.asked > 0
    assert wire["tpot"] == pytest.approx((last.texts[3] - last.texts[0]) / 3)
    assert wire["whole"] == pytest.approx((last.texts[3] - last.asked) / 4)


def test_an_end_that_comes_late_is_after_the_last_text(scripts):
    _, _, wiretap = scripts
    with wiretap.tapped_engine(Script(("a",), delay_end=0.05), "tiny") as (url, tap):
        ask(url, 1)
        assert time.perf_counter() - tap.passages[0].texts[-1] >= 0.05


def test_requests_that_nobody_asked_for_are_seen(scripts):
    agreement, loadtools, wiretap = scripts
    task = loadtools.Task("", "tiny", Path(), 1, 5, 3, 1, 1)
    with pytest.raises(RuntimeError, match="1 requests went by, and 4"):
        agreement.passed(type("", (), {"passages": [wiretap.Passage(0.0)]}), task)


def test_tools_take_turns_and_are_told_as_paired_ratios(scripts):
    agreement, loadtools, _ = scripts
    turns = []

    def tool(name, factor):
        def work(task, seed, place):
            turns.append((seed, name))
            drift = 1 + seed / 10
            return dict.fromkeys(("ttft", "tpot", "itl", "whole"), 0.1 * factor * drift)

        return work

    task = loadtools.Task("", "tiny", Path(), 1, 5, 3, 1, 1)
    tools = {agreement.OURS: tool("ours", 1), agreement.MAX: tool("theirs", 1.02)}
    lines = list(agreement.tables(agreement.run(tools, task, 3, None), None))
    assert [name for _, name in turns] == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert len(lines) == 2 + len(agreement.COMPARED[agreement.MAX])
    assert "| 110.00 | 112.20 | 1.0200 [1.0200, 1.0200] | +2.20 |" in lines[2]
