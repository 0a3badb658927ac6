"""The script that fills an environment before anything of ours is installed."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def environment():
    spec = importlib.util.spec_from_file_location("environment", SCRIPTS / "environment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_silent_tool_is_told_about(environment, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(environment, "TICK", 0.05)
    code = "import time; print('half way', flush=True); time.sleep(1)"
    environment.patiently("Working", [sys.executable, "-c", code], tmp_path / "logs" / "x.log")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Working …"
    assert any(line.endswith("half way") for line in lines)
    assert lines[-1].endswith("done")


def test_a_failed_tool_shows_its_last_words_and_where_the_rest_is(environment, tmp_path, capsys):
    code = "import sys; print('why it failed'); sys.exit(3)"
    log = tmp_path / "x.log"
    with pytest.raises(SystemExit, match=f"failed with status 3; the whole output is in {log}"):
        environment.patiently("Working", [sys.executable, "-c", code], log)
    assert "why it failed" in capsys.readouterr().out


def test_an_old_interpreter_is_refused_in_words(environment, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["environment.py", "x", "y"])
    monkeypatch.setattr(environment, "LEAST", (9, 0))
    with pytest.raises(SystemExit, match=r"Python 9.0 or newer is needed.*make PYTHON="):
        environment.main()
