"""An engine's process, seen from the service: start, readiness, stop, log and memory."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hyperllama_nb.engines import guard
from hyperllama_nb.engines.base import Backend, Launch, Phase, Task
from hyperllama_nb.engines.group import cpu_of, kill_group, loopback_port, memory_of
from hyperllama_nb.engines.log import LogReader, tail
from hyperllama_nb.engines.openai import Wire
from hyperllama_nb.engines.sleep import Sleep
from hyperllama_nb.errors import (
    EngineDiedError,
    EngineStartError,
    HyperLlamaError,
    LoadTimeoutError,
)

LOG_LIMIT = 1 << 20
"""Bytes of an engine's log that are kept."""

POLL = 0.1
"""Seconds between two looks at the log and the socket of an engine that is starting."""

SOCKET_LATE = 3.0
"""Seconds that an engine which calls itself ready may take to open its socket."""

STOP_LIMIT = guard.GRACE + guard.REAP + 1.0
"""Seconds after which a guard that has not ended is taken for broken."""

DEATH_NOTICE = 3.0
"""Seconds in which an engine that answers oddly ends, if it is dying."""

EVIDENCE = 200
"""Lines of the log that are searched for the cause of an engine's end."""

_PROOF = {"generate": "complete one token", "embed": "embed one token"}
"""What an engine must do to be ready."""

LAST_WORDS = 8
"""Lines of the log in the error of an engine that does not get ready."""

_alive: "weakref.WeakSet[EngineProcess]" = weakref.WeakSet()


class EngineProcess:
    """One engine under its guard. All methods belong to one event loop.

    `workdir` is made at the start and removed by the guard at the end, with the socket in it; `log`
    stays, and the log of the start before is beside it as `….old`. `returncode` is the main
    process's, negative for a signal, None while it runs. `tcp` tells that the engine listens on
    loopback, where other users of the machine can reach it. `sleep` stops it while it is idle, once
    that is allowed; the wire from `wait_ready` wakes it.
    """

    def __init__(self, socket: Path, workdir: Path, log: Path) -> None:
        self.socket, self.workdir, self.log = socket, workdir, log
        self.pid: int | None = None
        self.returncode: int | None = None
        self.tcp = False
        self._backend: Backend | None = None
        self._on_phase: Callable[[Phase], None] = lambda _: None
        self._life = -1
        self.sleep = Sleep(self._tell)
        self._guard: asyncio.subprocess.Process | None = None
        self._follower: asyncio.Task[None] | None = None
        self._exited = asyncio.Event()
        self._failure: str | None = None
        self._memory = (0.0, 0)

    async def start(
        self, launch: Launch, backend: Backend, on_phase: Callable[[Phase], None] | None = None
    ) -> None:
        """Start the engine under a guard; returns once its process exists.

        `on_phase` is called, during `wait_ready`, with each stage that the log announces.
        Raises EngineStartError if the program cannot be executed.
        """
        self._backend = backend
        self._on_phase = on_phase or self._on_phase
        self.workdir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_name(self.log.name + ".old"))
        order = {
            "argv": launch.argv,
            "env": launch.env,
            "cwd": str(self.workdir),
            "log": str(self.log),
            "limit": LOG_LIMIT,
        }
        theirs, self._life = os.pipe()
        _alive.add(self)
        try:
            self._guard = await self._start_guard(theirs)
            os.write(self._life, json.dumps(order).encode() + b"\n")
            # A guard that reads no more must not hold up the service.
            os.set_blocking(self._life, False)
        except BrokenPipeError:
            self._failure = "its guard ended at once"
        except BaseException:
            self._let_go()
            raise
        finally:
            os.close(theirs)
        first = asyncio.Event()
        self._follower = asyncio.create_task(self._follow(first), name=f"guard of {self.log.stem}")
        await first.wait()
        if self.pid is None:
            await self.stop()
            raise EngineStartError(
                f"The engine could not be started: {self._failure or 'its guard said nothing'}. "
                "Check that the program is installed (`hyperllama status` names it)."
            )

    async def _start_guard(self, order: int) -> asyncio.subprocess.Process:
        """Start the guard, in a session of its own, with the pipe `order` as its input."""
        with self.log.open("ab") as complaints:
            self.log.chmod(0o600)
            return await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", guard.__file__),
                stdin=order,
                stdout=asyncio.subprocess.PIPE,
                stderr=complaints,
                cwd="/",
                start_new_session=True,
            )

    async def _follow(self, first: asyncio.Event) -> None:
        """Take the guard's reports; when it has ended, see to it that the engine has too."""
        assert self._guard is not None
        assert self._guard.stdout is not None
        try:
            async for line in self._guard.stdout:
                report: dict[str, Any] = json.loads(line)
                self.pid = report.get("pid", self.pid)
                self._failure = report.get("error", self._failure)
                if "exit" in report:
                    self.returncode = report["exit"]
                    self._exited.set()
                first.set()
            if await self._guard.wait() != 0 and self.pid is not None:
                # The guard was killed or is broken, so its work is ours.
                await asyncio.to_thread(kill_group, self.pid)
            await asyncio.to_thread(shutil.rmtree, self.workdir, ignore_errors=True)
        finally:
            if self.pid is not None and self.returncode is None:
                self.returncode = -signal.SIGKILL
            self._let_go()
            self._exited.set()
            first.set()

    async def wait_ready(
        self, model: str, deadline: float | None = None, task: Task = "generate"
    ) -> Wire:
        """Wait until the engine does its task for `model`, for at most `deadline` seconds.

        Raises EngineStartError, with the cause and the last lines of the log, if it ends, cannot
        answer, or takes too long.
        """
        assert self._backend is not None, "start comes first"
        try:
            async with asyncio.timeout(deadline):
                return await self._until_ready(model, task)
        except TimeoutError:
            words = "\n".join(self.log_tail(LAST_WORDS))
            raise LoadTimeoutError(
                f"The engine for {model} was not ready after {deadline:.0f} s. Raise "
                f"OLLAMA_LOAD_TIMEOUT if it needs longer. Its last words:\n{words}"
            ) from None

    async def _until_ready(self, model: str, task: Task) -> Wire:
        reader = LogReader(self.log)
        last: Phase | None = None
        late: float | None = None
        while not self._exited.is_set():
            last = self._hear(reader, last)
            if last is not None and last.name == "ready":
                late = late or time.monotonic() + SOCKET_LATE
            wire = None
            if self.socket.exists():
                wire = Wire(self.socket, self._is_dying, self.sleep.awake)
            elif late is not None and time.monotonic() > late and self.pid is not None:
                port = await asyncio.to_thread(loopback_port, self.pid)
                if port is not None:
                    wire = Wire(("127.0.0.1", port), self._is_dying, self.sleep.awake)
                    self.tcp = True
            if wire is not None and await self._answers(wire, model, task):
                # The socket may be there before what the engine said has reached the log.
                self._hear(reader, last)
                return wire
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._exited.wait(), POLL)
        raise EngineStartError(f"The engine for {model} did not start: {self._obituary()}")

    def _hear(self, reader: LogReader, last: Phase | None) -> Phase | None:
        """Report the stages that new lines of the log announce, and return the latest one."""
        for line in reader.lines():
            phase = self._backend.phase(line) if self._backend else None
            if phase is not None and phase != last:
                last = phase
                self._on_phase(phase)
        return last

    async def _answers(self, wire: Wire, model: str, task: Task) -> bool:
        """Tell whether a real request works; ends early if the engine's process does."""
        if await wire.loading():
            return False
        probe = asyncio.create_task(wire.ready(model, task))
        exited = asyncio.create_task(self._exited.wait())
        try:
            await asyncio.wait({probe, exited}, return_when=asyncio.FIRST_COMPLETED)
            if not probe.done():
                return False
            probe.result()
        except EngineDiedError:
            return False
        except HyperLlamaError as error:
            raise EngineStartError(
                f"The engine for {model} started, and cannot {_PROOF[task]}: {error} "
                "Its last words:\n" + "\n".join(self.log_tail(LAST_WORDS))
            ) from error
        finally:
            probe.cancel()
            exited.cancel()
            await asyncio.gather(probe, exited, return_exceptions=True)
        return True

    def _obituary(self) -> str:
        assert self._backend is not None
        return self._backend.explain(self.log_tail(EVIDENCE), self.returncode)

    async def _is_dying(self) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._exited.wait(), DEATH_NOTICE)
        return self._exited.is_set()

    async def wait(self) -> int | None:
        """Wait until the engine's main process has ended; returns its code."""
        await self._exited.wait()
        return self.returncode

    async def stop(self) -> None:
        """End the engine; returns when nothing of it is left. May be called again and cancelled."""
        self._let_go()
        if self._follower is None:
            return
        try:
            await asyncio.wait_for(asyncio.shield(self._follower), STOP_LIMIT)
        except TimeoutError:
            assert self._guard is not None
            with contextlib.suppress(ProcessLookupError):
                self._guard.kill()
            await asyncio.shield(self._follower)

    def _tell(self, word: str) -> bool:
        """Say a word to the guard; returns whether it can hear it."""
        if self._life < 0 or self._exited.is_set():
            return False
        try:
            os.write(self._life, word.encode() + b"\n")
        except OSError:
            return False
        return True

    def _let_go(self) -> None:
        """Close our end of the pipe: the guard ends the engine, asleep or not."""
        self.sleep.forbid()
        if self._life >= 0:
            fd, self._life = self._life, -1
            os.close(fd)

    def log_tail(self, lines: int) -> list[str]:
        """Return the last lines of the log; none if there is no log."""
        return tail(self.log, lines)

    def memory(self) -> int:
        """Return the bytes that the engine's processes and its guard use, at most 2 s old."""
        if self.pid is None or self._guard is None or self._exited.is_set():
            return 0
        taken, size = self._memory
        if time.monotonic() - taken > 2.0:
            size = memory_of(self.pid, self._guard.pid)
            self._memory = (time.monotonic(), size)
        return size

    def cpu_seconds(self) -> float:
        """Return the processor time that the engine's processes have used, in seconds."""
        return 0.0 if self.pid is None or self._exited.is_set() else cpu_of(self.pid)


def _forget_all() -> None:
    # A forked child would hold the pipes open: the engines would outlive the service.
    for process in list(_alive):
        process._let_go()  # noqa: SLF001  module's own class


os.register_at_fork(after_in_child=_forget_all)
