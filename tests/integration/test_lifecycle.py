"""Sudden deaths of one engine's parts, on MAX's real process tree: nothing is left after 15 s.

MAX_SERVE_DUMMY_MODEL replaces the model by an echo, so that nothing is compiled.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from hyperllama_nb.engines.group import members
from hyperllama_nb.errors import EngineDiedError
from tests.integration import lifecycle_parent
from tests.integration.processes import left_after, listening

PROMISE = 15.0
PATIENCE = 400.0


@pytest.fixture
def place(monkeypatch):
    models = os.environ.get("HYPERLLAMA_TEST_MODELS")
    if not models:
        pytest.fail("HYPERLLAMA_TEST_MODELS is not set. Run the tests with `make test`.")
    monkeypatch.setenv("HYPERLLAMA_MODELS", models)
    monkeypatch.setenv("MAX_SERVE_DUMMY_MODEL", "1")
    path = Path(tempfile.mkdtemp(prefix="hl", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def run(work):
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


def assert_nothing_left(processes, place, started):
    left = left_after(processes, [place / "e" / "s", place / "e"], PROMISE)
    print(f"left after {time.monotonic() - started:.1f} s:", left)
    assert left == []
    assert time.monotonic() - started <= PROMISE


def main_of(engine, parts):
    return [part for part in parts if part.pid == engine.pid]


def workers_of(engine, parts):
    return [part for part in parts if part.pid != engine.pid]


def everything(engine, parts):
    return parts


@pytest.mark.parametrize("victims", [main_of, workers_of, everything])
def test_a_killed_part_takes_the_whole_engine_along(place, victims):
    async def work():
        async with lifecycle_parent.engine(place) as engine:
            parts = list(members(engine.pid))
            assert len(parts) >= 2
            started = time.monotonic()
            for part in victims(engine, parts):
                part.send_signal(signal.SIGKILL)
            assert await engine.wait() != 0
            await asyncio.to_thread(assert_nothing_left, parts, place, started)
            with pytest.raises(EngineDiedError):
                await engine.wire.ready(lifecycle_parent.MODEL)

    run(work())


def test_a_killed_service_takes_its_engine_along(place):
    command = [sys.executable, lifecycle_parent.__file__, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        for line in parent.stdout:
            with contextlib.suppress(json.JSONDecodeError):
                pids = json.loads(line)
                break
        parts = [psutil.Process(pid) for pid in pids]
        started = time.monotonic()
        parent.kill()
        assert_nothing_left(parts, place, started)


def test_a_killed_guard_is_stood_in_for(place):
    async def work():
        async with lifecycle_parent.engine(place) as engine:
            parts = list(members(engine.pid))
            started = time.monotonic()
            engine._guard.kill()
            await asyncio.to_thread(assert_nothing_left, parts, place, started)

    run(work())


def test_a_running_engine_listens_on_its_own_private_socket_only_and_stops_clean(place):
    async def work():
        async with lifecycle_parent.engine(place) as engine:
            parts = list(members(engine.pid))
            assert listening(parts) == []
            assert not engine.tcp
            assert engine.socket.stat().st_mode & 0o777 == 0o600
            assert engine.workdir.stat().st_mode & 0o777 == 0o700
            assert "maxserve_request_count_total" in await engine.wire.metrics()
            started = time.monotonic()
            await engine.stop()
            assert_nothing_left(parts, place, started)

    run(work())
