"""The guard: whatever its engine is like, nothing of it is left."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hyperllama_nb.engines import guard
from hyperllama_nb.engines.group import members

LIMIT = 15.0
"""Seconds: the promise that is tested here."""

PATIENCE = 60.0


class Guarded:
    """A guard over a small Python program."""

    def __init__(self, place: Path, code: str, *, limit: int = 1 << 20):
        self.workdir, self.log = place / "w", place / "log"
        self.workdir.mkdir()
        (self.workdir / "socket").touch()
        self.guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        order = {
            "argv": [sys.executable, "-c", code],
            "env": dict(os.environ),
            "cwd": str(self.workdir),
            "log": str(self.log),
            "limit": limit,
        }
        self.guard.stdin.write(json.dumps(order).encode() + b"\n")
        self.guard.stdin.flush()
        self.pid = self.report()["pid"]

    def report(self):
        return json.loads(self.guard.stdout.readline())

    def wait_for(self, text):
        deadline = time.monotonic() + PATIENCE
        while text not in (content := self.log.read_text(errors="replace")):
            assert time.monotonic() < deadline, content
            time.sleep(0.02)
        return content

    def say(self, words):
        self.guard.stdin.write(words)
        self.guard.stdin.flush()

    def let_go(self):
        self.guard.stdin.close()

    def wait(self):
        assert self.guard.wait(PATIENCE) == 0
        assert not self.workdir.exists()


@pytest.fixture
def guarded(own_place):
    made = []

    def make(code, **options):
        made.append(Guarded(own_place, code, **options))
        return made[-1]

    yield make
    for each in made:
        with contextlib.suppress(OSError):
            os.killpg(each.pid, signal.SIGKILL)
        each.guard.kill()
        each.guard.wait()
        each.guard.stdin.close()
        each.guard.stdout.close()


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def family(pid):
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def stopped(engine):
    return [p.status() == psutil.STATUS_STOPPED for p in members(engine.pid)]


def left(processes):
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


FAMILY = """
import os, signal, sys, time
for _ in range(2):
    os.fork()
{setup}
os.write(1, b"up\\n")
time.sleep(1000)
"""
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


def test_the_code_of_an_engine_that_ends_is_reported(guarded):
    engine = guarded("import sys; print('hello'); sys.exit(3)")
    assert engine.report() == {"exit": 3}
    engine.wait()
    assert engine.log.read_text() == "hello\n"
    assert engine.log.stat().st_mode & 0o777 == 0o600


def test_the_end_of_the_service_ends_the_whole_group(guarded):
    engine = guarded(FAMILY.format(setup=""))
    engine.wait_for("up\n" * 4)
    processes = family(engine.pid)
    assert len(processes) == 4
    engine.let_go()
    engine.wait()
    assert left(processes) == []


@pytest.mark.slow
def test_an_engine_that_ignores_sigterm_is_killed_in_time(guarded):
    engine = guarded(FAMILY.format(setup=STUBBORN))
    engine.wait_for("up\n" * 4)
    processes = family(engine.pid)
    started = time.monotonic()
    engine.let_go()
    engine.wait()
    assert left(processes) == []
    assert time.monotonic() - started <= LIMIT


def test_stubborn_orphans_of_a_killed_main_process_go_too(guarded):
    engine = guarded(FAMILY.format(setup=STUBBORN))
    engine.wait_for("up\n" * 4)
    processes = family(engine.pid)
    started = time.monotonic()
    os.kill(engine.pid, signal.SIGKILL)
    assert engine.report() == {"exit": -signal.SIGKILL}
    engine.wait()
    assert left(processes) == []
    assert time.monotonic() - started <= LIMIT


def test_an_orphan_that_left_the_group_goes_too_where_guards_inherit_orphans(guarded):
    leave = "os.getsid(0) == os.getpid() or os.getpgid(0) == os.getpid() or os.setsid()"
    engine = guarded(FAMILY.format(setup=leave if sys.platform == "linux" else "pass"))
    engine.wait_for("up\n" * 4)
    processes = family(engine.pid)
    os.killpg(engine.pid, signal.SIGKILL)
    engine.wait()
    assert left(processes) == []


def test_signals_to_the_guard_do_not_reach_the_engine_and_are_not_inherited(guarded):
    engine = guarded(
        "import signal, time\n"
        "print(signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT).__name__,"
        " flush=True)\n"
        "time.sleep(1000)"
    )
    text = engine.wait_for("\n")
    assert "SIG_DFL" in text or "Default" in text or text.startswith("0")
    assert "default_int_handler" in text
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(engine.guard.pid, number)
    time.sleep(0.2)
    assert engine.guard.poll() is None
    assert psutil.Process(engine.pid).status() != psutil.STATUS_ZOMBIE
    engine.let_go()
    engine.wait()


def test_a_flood_of_output_leaves_a_log_of_bounded_size_with_the_last_words(guarded):
    engine = guarded(
        "import sys\n"
        "line = 'x' * 1000\n"
        "for number in range(100_000): print(number, line)\n"
        "print('last words')",
        limit=100_000,
    )
    assert engine.report() == {"exit": 0}
    engine.wait()
    text = engine.log.read_text()
    assert len(text) <= 100_000
    assert text.endswith("last words\n")
    assert text.splitlines()[0].split()[0].isdecimal()


@pytest.mark.slow
def test_a_flood_of_output_does_not_keep_the_engine_alive(guarded):
    engine = guarded(f"import signal; {STUBBORN}\nwhile True: print('x' * 1000)", limit=100_000)
    engine.wait_for("x")
    started = time.monotonic()
    engine.let_go()
    engine.wait()
    assert time.monotonic() - started <= LIMIT


def test_a_service_that_dies_before_it_gave_an_order_leaves_no_guard():
    process = subprocess.Popen([sys.executable, "-I", "-S", guard.__file__], stdin=subprocess.PIPE)
    process.stdin.write(b'{"argv":')
    process.stdin.close()
    assert process.wait(PATIENCE) == 0


def test_the_guard_stops_and_continues_the_whole_group_and_not_itself(guarded):
    engine = guarded(FAMILY.format(setup=""))
    engine.wait_for("up\n" * 4)
    engine.say(b"stop\n")
    until(lambda: stopped(engine) == [True] * 4)
    assert psutil.Process(engine.guard.pid).status() != psutil.STATUS_STOPPED
    engine.say(b"conti")
    engine.say(b"nue\nstop\ncontinue\n")
    until(lambda: stopped(engine) == [False] * 4)
    engine.let_go()
    engine.wait()


@pytest.mark.parametrize("words", [b"stop\n", b"stop\ncontinue\nstop\n", b"stop\nsto"])
def test_a_service_that_dies_leaves_no_stopped_engine(guarded, words):
    engine = guarded(FAMILY.format(setup=""))
    engine.wait_for("up\n" * 4)
    processes = family(engine.pid)
    engine.say(words)
    engine.let_go()
    assert engine.report() == {"exit": -signal.SIGTERM}
    engine.wait()
    assert left(processes) == []


@pytest.mark.slow
def test_a_stopped_engine_that_ignores_sigterm_is_killed(guarded):
    engine = guarded(FAMILY.format(setup=STUBBORN))
    engine.wait_for("up\n" * 4)
    processes = family(engine.pid)
    engine.say(b"stop\n")
    until(lambda: all(stopped(engine)))
    engine.let_go()
    assert engine.report() == {"exit": -signal.SIGKILL}
    engine.wait()
    assert left(processes) == []


def test_stopped_children_of_a_killed_main_process_go_too(guarded):
    engine = guarded(FAMILY.format(setup=""))
    engine.wait_for("up\n" * 4)
    processes = family(engine.pid)
    engine.say(b"stop\n")
    until(lambda: all(stopped(engine)))
    os.kill(engine.pid, signal.SIGKILL)
    assert engine.report() == {"exit": -signal.SIGKILL}
    engine.wait()
    assert left(processes) == []


def test_a_stopped_engine_whose_part_has_died_is_woken(guarded):
    """A stopped main process cannot see the death of a worker, and would be kept for ever."""
    engine = guarded(FAMILY.format(setup=""))
    engine.wait_for("up\n" * 4)
    engine.say(b"stop\n")
    until(lambda: all(stopped(engine)))
    worker = next(p for p in members(engine.pid) if p.pid != engine.pid and p.ppid() == engine.pid)
    worker.kill()
    until(lambda: not any(stopped(engine)))
    engine.let_go()
    engine.wait()
