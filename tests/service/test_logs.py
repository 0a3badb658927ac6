"""The service's log does not grow for ever, and its readers do not mind."""

import logging
import os
import subprocess
import sys

import pytest

from hyperllama_nb.service import logs
from hyperllama_nb.service.routes.admin import _since


def record(text):
    return logging.LogRecord("name", logging.INFO, "path", 1, text, (), None)


@pytest.fixture
def log(tmp_path, monkeypatch):
    path = tmp_path / "service.log"
    monkeypatch.setattr(logs, "LIMIT", 2000)
    with path.open("a") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        yield logs.Log(path), path


def test_what_is_too_long_is_kept_beside_it(log):
    handler, path = log
    for number in range(100):
        handler.handle(record(f"line {number} " + "x" * 50))
        assert path.stat().st_size < 2100
    old = path.with_name("service.log.old").read_text("utf-8").splitlines()
    new = path.read_text("utf-8").splitlines()
    numbers = [int(line.split("line ")[1].split()[0]) for line in [*old, *new]]
    assert numbers == list(range(numbers[0], 100))
    assert " INFO name [-]: line 99" in new[-1]


def test_what_others_write_to_it_goes_on(log):
    handler, path = log
    for _ in range(30):
        handler.handle(record("x" * 100))
        subprocess.run(["echo", "from outside"], stdout=handler.stream, check=True)
    assert "from outside" in path.read_text("utf-8")
    assert "\0" not in path.read_text("utf-8")


def test_a_follower_reads_on_after_it_was_emptied(tmp_path):
    path = tmp_path / "log"
    path.write_text("a\nb\n")
    _, position = _since(path, None)
    path.write_text("c\n")
    text, position = _since(path, position)
    assert (text, position) == ("c\n", 2)


@pytest.mark.parametrize("kind", ["pipe", "closed", "another file"])
def test_standard_error_may_be_anything(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(logs, "LIMIT", 1)
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w") if kind != "another file" else (tmp_path / "other").open("a")
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler = logs.Log(tmp_path / "service.log")
    (tmp_path / "service.log").write_text("something else")
    if kind == "closed":
        stream.close()
    handler.handle(record("x"))
    assert (tmp_path / "service.log").read_text() == "something else"
    stream.close()
    os.close(reading)
