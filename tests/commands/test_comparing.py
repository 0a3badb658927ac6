"""Comparing engines by a command, on a service with a FakeEngine."""

import json
import shlex

import pytest

from hyperllama_nb.bench.throughput import Objectives
from hyperllama_nb.client import Client
from hyperllama_nb.commands import UsageError, bench, comparing, execute
from hyperllama_nb.commands.options import Parser
from hyperllama_nb.errors import ConflictError, InvalidFileError
from tests.bench.summaries import summary
from tests.commands.fakes import FakeContext
from tests.service.hosting import hosting


def parsed(line):
    parser = Parser("bench")
    bench.add_arguments(parser)
    return parser.parse(shlex.split(line))


def chosen(line):
    return comparing.choice(parsed(f"tiny --targets a,b {line}"))


@pytest.mark.slow
def test_the_command_compares_targets_and_keeps_the_run(tmp_path):
    line = (
        "bench tiny --targets fake,fake --quick --output-tokens 4 --concurrency 1,2 "
        "--goodput ttft:60000 --output"
    )
    with hosting("thread") as service, Client(f"unix:{service.socket}") as client:
        context = FakeContext(client)
        execute([*line.split(), str(tmp_path / "run")], context)
    (shown,) = context.shown
    assert "fake / fake #2" in shown
    assert "time to first token" in shown
    assert "100 % [82, 100]" in shown
    assert "Two set-ups" not in shown
    assert "block 3 of 3: fake, 1 at a time" in context.notes
    found = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert found["complete"]
    assert [cell["label"] for cell in found["cells"]] == ["1 at a time", "2 at a time"]
    assert found["cells"][0]["targets"]["fake"]["requests"]["succeeded"] == 18
    assert (tmp_path / "run" / "report.html").stat().st_size < 500_000


@pytest.mark.slow
def test_a_run_that_an_error_ended_is_kept(tmp_path, monkeypatch):
    def unload(self, model):
        raise ConflictError("Somebody came.")

    line = f"bench tiny --targets fake,fake --quick --output {tmp_path / 'run'}"
    with hosting("thread") as service, Client(f"unix:{service.socket}") as client:
        monkeypatch.setattr(Client, "unload", unload)
        with pytest.raises(ConflictError):
            execute(line.split(), FakeContext(client))
    found = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert not found["complete"]
    assert found["note"].startswith("Ended early: Somebody came.")
    counts = [each["requests"]["succeeded"] for each in found["cells"][0]["targets"].values()]
    assert sorted(counts) == [0, 6]


def test_without_a_prompt_and_targets_nothing_is_measured():
    with pytest.raises(UsageError, match="--targets"):
        execute(["bench", "tiny"], FakeContext())


@pytest.mark.parametrize(
    "option",
    [
        "--blocks 3",
        "--quick",
        "--output run",
        "--rate 2",
        "--warmup 0",
        "--noise-floor",
        "--goodput ttft:9",
        "--workload turns",
        "--overlay x",
    ],
)
def test_an_option_of_a_comparison_needs_targets(option):
    with pytest.raises(UsageError, match=option.split()[0]):
        execute(["bench", "tiny", "Hi", *option.split()], FakeContext())


def test_results_of_another_tool_are_checked_before_anything_is_measured(tmp_path):
    line = ["bench", "tiny", "--targets", "fake", "--overlay", str(tmp_path / "result.json")]
    with pytest.raises(UsageError, match="--output"):
        execute(line, FakeContext())
    with pytest.raises(InvalidFileError, match="cannot be read"):
        execute([*line, "--output", str(tmp_path / "run")], FakeContext())
    assert list(tmp_path.iterdir()) == []


def test_a_line_is_a_choice():
    found = chosen("--concurrency 1,4 --rate 0.5 --workload turns --warmup 0 --noise-floor")
    assert (found.targets, found.concurrency, found.rates) == (("a", "b"), (1, 4), (0.5,))
    assert (found.workload, found.warmup, found.noise_floor) == ("turns", 0, True)
    assert (found.input_tokens, found.blocks, found.options) == (128, 5, {})
    quick = chosen("--quick --requests 9 --seed 7 --temperature 0.5 -o ignore_eos true")
    assert (quick.input_tokens, quick.requests, quick.seed) == (64, 9, 7)
    assert quick.options == {"temperature": 0.5, "seed": 7, "ignore_eos": True}


def test_objectives_are_milliseconds_under_the_names_of_vllm_too():
    assert chosen("--goodput ttft:200,tpot:50").objectives == Objectives(0.2, 0.05)
    assert chosen("--goodput e2el:2000").objectives == Objectives(e2e=2.0)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--goodput 200", "'200' is no limit"),
        ("--goodput ttft:fast", "'fast' is not a number above 0"),
        ("--goodput speed:1", "ttft, tpot or e2e"),
        ("--concurrency 1,x", "'x' is not a whole number from 1 up"),
        ("--concurrency 1.5", "'1.5' is not a whole number"),
        ("--rate 0", "'0' is not a number above 0"),
        ("--rate inf", "'inf' is not a number"),
        ("--rate nan", "'nan' is not a number"),
        ("--requests 0", "'0' is not a whole number from 1 up"),
        ("--warmup -1", "whole number from 0 up|expected one argument"),
        ("--workload none", "fixed, uniform"),
        ("--backend max", "--targets"),
        ("--num-predict 5", "--output-tokens"),
        ("Hello", "its own prompts"),
    ],
)
def test_a_wrong_value_is_told_in_words(option, told):
    with pytest.raises(UsageError, match=told):
        chosen(option)


def test_no_target_at_all_is_told():
    with pytest.raises(UsageError, match="at least one target"):
        comparing.choice(parsed("tiny --targets ,"))


def test_a_broken_rule_stands_above_the_numbers():
    rows = [{"rule": "same weights", "state": "fail", "reason": "."}]
    title = comparing.table(summary(fairness=rows)).title
    assert title.endswith("Two set-ups, not two engines, are compared: same weights failed.")


def test_the_noise_floor_is_a_sentence():
    found = summary(("a", "b", "a #2"), same=("a", "a #2"))
    floors = {"time to first token": 0.0456, "end-to-end latency": 3.4}
    title = comparing.table({**found, "noise_floor": floors}).title
    assert title.endswith(
        "a was measured twice: differences under 4.6 % (time to first token), 340 % (end-to-end "
        "latency) are not visible here."
    )
    table = comparing.table({**found, "noise_floor": None})
    assert "Too few blocks" in table.title
    assert {row[2] for row in table.rows} == {"a / b"}


def test_good_requests_are_rows_where_there_are_objectives():
    rows = comparing.table(summary(objectives=Objectives(ttft=0.21))).rows
    good = [row for row in rows if row[1] == "within the objectives"]
    assert [row[3:5] for row in good] == [("100 % [61, 100]", "0 % [0, 39]")] * 2
    assert [row[1] for row in rows].count("goodput") == 2
    assert all("objectives" not in row[1] for row in comparing.table(summary()).rows)


def test_a_single_target_has_its_medians():
    rows = comparing.table(summary(("a",))).rows
    assert ("1 at a time", "time to first token", "a", "200 ms", "-", "-", "-") in rows
