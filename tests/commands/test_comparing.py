"""Comparing engines by a command, on a service with a FakeEngine."""

import json

import pytest

from hyperllama_nb.client import Client
from hyperllama_nb.commands import UsageError, comparing, execute
from hyperllama_nb.errors import InvalidFileError
from tests.commands.fakes import FakeContext
from tests.service.hosting import hosting


@pytest.mark.slow
def test_the_command_compares_targets_and_keeps_the_run(tmp_path):
    line = "bench tiny --targets fake,fake --quick --output-tokens 4 --concurrency 1,2 --output"
    with hosting("thread") as service, Client(f"unix:{service.socket}") as client:
        context = FakeContext(client)
        execute([*line.split(), str(tmp_path / "run")], context)
    (shown,) = context.shown
    assert "fake / fake #2" in shown
    assert "time to first token" in shown
    assert "Two set-ups" not in shown
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["complete"]
    assert [cell["label"] for cell in summary["cells"]] == ["1 at a time", "2 at a time"]
    assert summary["cells"][0]["targets"]["fake"]["requests"]["succeeded"] == 18
    assert (tmp_path / "run" / "report.html").stat().st_size < 500_000


def test_without_a_prompt_and_targets_nothing_is_measured():
    with pytest.raises(UsageError, match="--targets"):
        execute(["bench", "tiny"], FakeContext())


@pytest.mark.parametrize(
    "option", ["--blocks 3", "--quick", "--output run", "--rate 2", "--overlay x"]
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


def test_a_broken_rule_stands_above_the_numbers():
    summary = {"title": "tiny: a, b", "note": "", "cells": [], "definitions": {}}
    rows = [{"rule": "same weights", "state": "fail", "reason": "."}]
    title = comparing.table({**summary, "fairness": rows}).title
    assert title.endswith("Two set-ups, not two engines, are compared: same weights failed.")
