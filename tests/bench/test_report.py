"""The report and its parts: whole, escaped, without scripts, and of bounded size."""

import re
from dataclasses import replace

import pytest

from hyperllama_nb.bench import sections
from hyperllama_nb.bench.report import report
from hyperllama_nb.bench.summarising import summarise
from hyperllama_nb.bench.throughput import Objectives
from tests.bench.summaries import OVERLAY, outcome, records, summary

EVIL = "<script>alert(1)</script>"
MANIFEST = {"environment": {"processor": EVIL}, "versions": {}, "targets": {EVIL: {"x": None}}}
FAILED = {"rule": "same weights", "state": "fail", "reason": EVIL}


def evil(**options):
    names = ("a", EVIL)
    run = outcome(records(names, late=0.5), names, EVIL)
    run.note, run.complete = EVIL, False
    overlay = OVERLAY | {"label": EVIL, "tool": EVIL}
    return summarise(run, [FAILED], objectives=Objectives(ttft=0.21), overlays=[overlay])


def test_the_report_is_one_small_page_that_loads_nothing_and_runs_nothing():
    page = report(MANIFEST, evil(), records(("a", EVIL)))
    assert len(page.encode()) < 150_000
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    assert not re.findall(r"(?:src|href|url)\s*[=(]", page)
    assert "prefers-color-scheme" in page
    for heading in ("Verdicts", "Doubts", "Under objectives", "Numbers", "Load times"):
        assert f"<h2>{heading}</h2>" in page


def test_a_long_run_of_many_loads_makes_no_longer_page():
    many = [each for block in range(20) for each in records(blocks=1, count=150)]
    assert len(report(MANIFEST, summary(), many).encode()) < 250_000


def test_a_failed_rule_hatches_the_comparison_and_names_it():
    hatched = sections.verdicts(summary(fairness=[FAILED]))
    assert 'class="hatch"' in hatched
    assert "same weights failed" in hatched
    assert "<b>a against b</b><ul><li>1 at a time: faster in time to first token (1.10x)" in hatched
    plain = sections.verdicts(summary(fairness=[FAILED | {"state": "warn"}]))
    assert 'class="hatch"' not in plain
    assert "failed" not in plain


def test_every_load_and_number_of_a_run_is_in_its_tables():
    found = sections.numbers(summary(overlays=[OVERLAY]))
    assert "<h3>1 at a time</h3>" in found
    assert "<h3>2/s</h3>" in found
    assert "max benchmark: m on modular, 2 at a time" in found
    numbers = '<td class="hl-number">200 ms</td>' * 2
    assert f'rowspan="2">time to first token</th><td>a</td>{numbers}' in found
    assert "not steady" not in found


def test_a_number_that_no_target_tells_has_no_rows():
    kept = [replace(each, cached_tokens=None) for each in records()]
    assert "prompt tokens/s" in sections.numbers(summary())
    assert "prompt tokens/s" not in sections.numbers(summarise(outcome(kept)))


def test_doubts_are_words_in_the_tables_and_sentences_above_them():
    run = outcome([each for each in records(count=1, late=0.5) if each.index == 0])
    found = summarise(run)
    assert "sent late" in sections.numbers(found)
    assert "not steady" in sections.numbers(found)
    assert "500 ms late" in sections.drift(found)
    assert sections.drift(summary()) == ""


def test_numbers_that_drifted_are_told_together():
    found = summary() | {"drift": [{"sentence": EVIL}, {"sentence": "latency grew"}]}
    told = sections.drift(found)
    assert "in 2 of the numbers" in told
    assert "<li>latency grew</li>" in told
    assert EVIL not in told


def test_where_it_ran_is_told_as_people_read_it():
    facts = {"options": {"temperature": 0, "seed": 1}, "digest": None}
    page = report({"environment": {"memory": 8 * 10**9}, "targets": {"a": facts}}, summary())
    assert "<td>memory</td><td>8 GB</td>" in page
    assert "<td>a: options</td><td>temperature 0, seed 1</td>" in page
    assert "<td>a: digest</td><td>-</td>" in page


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.01234, "s", "12.3 ms"),
        (0.9996, "s", "1.00 s"),
        (41.26, "tokens/s", "41.3 tokens/s"),
        (1234.5, "", "1234"),
        (0.5, "share", "50 %"),
        (None, "s", "-"),
    ],
)
def test_numbers_are_shown_with_what_people_read(value, unit, text):
    assert sections.shown(value, unit) == text


def test_goodput_is_shown_with_its_objectives():
    found = sections.goodput(summary(objectives=Objectives(ttft=0.21)))
    assert "time to first token ≤ 210 ms" in found
    assert "<td>6 of 6</td><td>100 % [61, 100]</td>" in found
    assert "<td>0 of 6</td><td>0 % [0, 39]</td>" in found
    assert sections.goodput(summary()) == ""


def test_the_noise_of_the_machine_is_told_and_its_twin_is_in_no_verdict():
    found = summary(("a", "a #2", "b"), same=("a", "a #2"))
    assert {name for cell in found["cells"] for c in cell["comparisons"] for name in c_pair(c)} == {
        "a",
        "b",
    }
    assert found["noise_floor"]["time to first token"] == pytest.approx(0.1)
    told = sections.verdicts(found)
    assert "differs by up to: time to first token 10.0%" in told
    alone = sections.verdicts(summary(("a", "a #2"), same=("a", "a #2")))
    assert "differs by up to" in alone
    assert "<svg" not in alone


def c_pair(comparison):
    return comparison["first"], comparison["second"]


def test_fragments_without_anything_to_say_are_empty():
    empty = summarise(outcome([]))
    assert "too few blocks to compare in time to first token" in sections.verdicts(empty)
    for part in (sections.over_load, sections.goodput, sections.drift):
        assert part(empty) == ""
    assert sections.distributions(empty, []) == ""
    assert sections.loads(empty) == ""
    assert sections.resources({}) == ""
    assert sections.fairness([]) == ""
