"""What the tests prove of Ollama's API: the marker `compat`, and its results as a file.

    @pytest.mark.compat("POST /api/chat", "tools", "same")
    @pytest.mark.compat("POST /api/chat", "a wrong option", "better", "400, where Ollama says 500")

A test that carries it proves the row. `scripts/compatibility.py` makes a page of all rows.
"""

import json
import os
from pathlib import Path

import pytest

LEVELS = ("same", "better", "not supported")


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "compat(route, feature, level, note=''): prove a row of the compatibility page"
    )
    path = os.environ.get("HYPERLLAMA_TEST_COMPATIBILITY")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(Path(path)), "compatibility")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    # A failure of the set-up is one of the row, too.
    if call.when == "call" or report.failed:
        report.user_properties += [("compat", row(mark)) for mark in item.iter_markers("compat")]
    return report


def row(mark):
    """Return the row that a marker states; a mistake in it fails the run."""
    route, feature, level, note = (*mark.args, "")[:4]
    assert level in LEVELS, f"{level!r} is not one of {LEVELS}"
    return {"route": route, "feature": feature, "level": level, "note": note}


class Recorder:
    """Collects the rows of a run, those of worker processes too, and writes them at its end."""

    def __init__(self, path):
        self.path = path
        self.rows = []

    def pytest_runtest_logreport(self, report):
        for name, value in report.user_properties:
            if name == "compat":
                self.rows.append({**value, "test": report.nodeid, "passed": report.passed})

    def pytest_sessionfinish(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = sorted(self.rows, key=lambda row: (row["route"], row["feature"], row["test"]))
        self.path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
