"""EngineProcess: start, readiness, stop, and what is left when the guard is killed."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from hyperllama_nb.engines.base import Launch, Phase
from hyperllama_nb.engines.log import LogReader
from hyperllama_nb.engines.process import EngineProcess
from hyperllama_nb.errors import EngineStartError

LIMIT = 15.0
PATIENCE = 60.0

ANSWER = """
def serve(listener):
    import json
    while True:
        connection, _ = listener.accept()
        connection.recv(65536)
        frame = json.dumps({"choices": [{"text": "a", "finish_reason": "length"}]})
        body = f"data: {frame}\\n\\ndata: [DONE]\\n\\n"
        head = f"HTTP/1.1 200 OK\\r\\ncontent-length: {len(body)}\\r\\n\\r\\n"
        connection.sendall((head + body).encode())
        connection.close()
import os, socket, sys, time
print("step one", flush=True)
"""
UNIX = """
listener = socket.socket(socket.AF_UNIX)
listener.bind("s")
listener.listen()
print("Server ready", flush=True)
serve(listener)
"""
LOOPBACK = """
listener = socket.create_server(("127.0.0.1", 0))
print("Server ready", flush=True)
serve(listener)
"""
SLEEP = "import time; print('step one', flush=True); time.sleep(1000)"


class Words:
    """The part of a backend that reads the log."""

    name = "words"

    def phase(self, line):
        if line.startswith("step"):
            return Phase("build", line)
        return Phase("ready", line) if line == "Server ready" else None

    def explain(self, log_tail, returncode):
        return f"code {returncode}, last words: {' | '.join(log_tail)}"


@contextlib.asynccontextmanager
async def process(place, code):
    made = EngineProcess(place / "e" / "s", place / "e", place / "log")
    launch = Launch((sys.executable, "-c", code), dict(os.environ))
    phases = []
    try:
        await made.start(launch, Words(), phases.append)
        made.seen = phases
        yield made
    finally:
        await made.stop()


def run(work):
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


def gone(pid):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def test_an_engine_gets_ready_and_leaves_nothing(own_place):
    async def work():
        async with process(own_place, ANSWER + UNIX) as engine:
            wire = await engine.wait_ready("m", PATIENCE)
            assert [e.text async for e in wire.stream([1], {"model": "m"})] == ["a", ""]
            assert [phase.name for phase in engine.seen] == ["build", "ready"]
            assert engine.memory() > 1_000_000
            assert not engine.tcp
            assert engine.returncode is None
            assert (engine.workdir.stat().st_mode & 0o777) == 0o700
        assert gone(engine.pid)
        assert not engine.workdir.exists()
        assert engine.memory() == 0
        assert engine.log_tail(1) == ["Server ready"]
        await engine.stop()

    run(work())


@pytest.mark.slow
def test_an_engine_without_its_socket_is_reached_over_loopback_and_says_so(own_place):
    async def work():
        async with process(own_place, ANSWER + LOOPBACK) as engine:
            await engine.wait_ready("m", PATIENCE)
            assert engine.tcp

    run(work())


def test_an_engine_that_ends_at_once_is_explained_with_its_last_words(own_place):
    async def work():
        async with process(own_place, "import sys; print('no luck'); sys.exit(4)") as engine:
            with pytest.raises(EngineStartError, match="code 4, last words: no luck"):
                await engine.wait_ready("m", PATIENCE)
            assert await engine.wait() == 4

    run(work())


def test_an_engine_that_takes_too_long_says_how_long_and_its_last_words(own_place):
    async def work():
        async with process(own_place, SLEEP) as engine:
            with pytest.raises(EngineStartError, match=r"not ready after 1 s(.|\n)*step one"):
                await engine.wait_ready("m", 1.0)

    run(work())


def test_an_engine_that_refuses_a_real_completion_is_not_ready(own_place):
    code = (ANSWER + UNIX).replace("200 OK", "400 Bad")

    async def work():
        async with process(own_place, code) as engine:
            with pytest.raises(EngineStartError, match="cannot complete one token"):
                await engine.wait_ready("m", PATIENCE)

    run(work())


def test_an_engine_that_says_it_is_loading_is_waited_for(own_place):
    loading = """
def load(listener):
    for _ in range(3):
        connection, _ = listener.accept()
        assert b"GET /health" in connection.recv(65536)
        connection.sendall(b"HTTP/1.1 503 Busy\\r\\ncontent-length: 0\\r\\n\\r\\n")
        connection.close()
    print("loaded", flush=True)
"""
    code = loading + ANSWER + UNIX.replace("serve(", "load(listener)\nserve(")

    async def work():
        async with process(own_place, code) as engine:
            await engine.wait_ready("m", PATIENCE)
            assert engine.log_tail(1) == ["loaded"]

    run(work())


def test_a_program_that_does_not_exist_is_named(own_place):
    async def work():
        engine = EngineProcess(own_place / "e" / "s", own_place / "e", own_place / "log")
        with pytest.raises(EngineStartError, match="/no/such: No such file"):
            await engine.start(Launch(("/no/such",), {}), Words())
        await engine.stop()
        assert not engine.workdir.exists()

    run(work())


def test_the_engine_goes_when_its_guard_is_killed(own_place):
    async def work():
        async with process(own_place, SLEEP) as engine:
            started = time.monotonic()
            engine._guard.kill()
            assert await engine.wait() == -signal.SIGKILL
            await engine.stop()
            assert time.monotonic() - started <= LIMIT
            assert gone(engine.pid)
            assert not engine.workdir.exists()

    run(work())


def test_a_cancelled_stop_can_be_repeated(own_place):
    async def work():
        async with process(own_place, SLEEP) as engine:
            task = asyncio.create_task(engine.stop())
            await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await engine.stop()
            assert gone(engine.pid)

    run(work())


def test_stopping_what_never_started_is_nothing(own_place):
    run(EngineProcess(own_place / "s", own_place, own_place / "log").stop())


def test_the_log_of_the_start_before_is_kept_beside(own_place):
    async def work():
        for word in ("first", "second"):
            async with process(own_place, f"print({word!r})") as engine:
                await engine.wait()
        return engine

    engine = run(work())
    assert engine.log_tail(9) == ["second"]
    assert (own_place / "log.old").read_text() == "first\n"


PARENT = """
import asyncio, os, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.engines.test_process import SLEEP, process

async def main():
    async with process(Path({place!r}), SLEEP) as engine:
        {fork}
        print(engine.pid, flush=True)
        await asyncio.sleep(1000)

asyncio.run(main())
"""
FORK = "os.fork() or time.sleep(1000)"


@pytest.mark.parametrize("fork", ["pass", FORK], ids=["alone", "with a forked child"])
def test_the_engine_goes_when_the_service_is_killed(own_place, fork):
    root = str(__file__).split("/tests/", maxsplit=1)[0]
    code = textwrap.dedent(PARENT).format(root=root, place=str(own_place), fork=fork)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    ) as parent:
        try:
            pid = int(parent.stdout.readline())
            started = time.monotonic()
            parent.kill()
            while not gone(pid) or (own_place / "e").exists():
                assert time.monotonic() - started <= LIMIT
                time.sleep(0.05)
        finally:
            os.killpg(parent.pid, signal.SIGKILL)


def test_a_log_is_followed_through_its_replacement(own_place):
    path = own_place / "log"
    reader = LogReader(path)
    assert reader.lines() == []
    path.write_bytes(b"one\ntw")
    assert reader.lines() == ["one"]
    with path.open("ab") as file:
        file.write(b"o\n")
    assert reader.lines() == ["two"]
    (own_place / "new").write_bytes(b"three\n")
    (own_place / "new").replace(path)
    assert reader.lines() == ["three"]
