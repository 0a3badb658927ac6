"""Stands over one engine: starts it, keeps its log, and leaves nothing of it behind.

Runs on its own as `python -I -S guard.py`, with the standard library only. The first line of
standard input is a JSON object (argv, env, cwd, log, limit); a line `stop` or `continue` after it
lets the engine sleep or wakes it; its end means that the service has gone or wants the engine gone.
Reports on standard output, a JSON object a line: {"pid": …}, then
{"exit": …} once the engine's main process has ended, or {"error": …} if it could not start.
Ends when no process of the engine is left.
"""

import contextlib
import ctypes
import errno
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

GRACE = 12.0
"""Seconds between SIGTERM and SIGKILL for an engine that is told to end."""

GRACE_ORPHANS = 2.0
"""The same for what is left when the main process has ended by itself."""

REAP = 2.0
"""Seconds to wait for killed processes to vanish."""

LOOK = 2.0
"""Seconds between two looks at a stopped engine, whether all of it is alive."""

TICK = 0.05
BURST = 32
PR_SET_CHILD_SUBREAPER = 36


class Log:
    """A file that keeps the last part of what is written to it, between limit / 2 and limit."""

    def __init__(self, path: str, limit: int) -> None:
        self.path, self.limit = path, limit
        self.file = open(path, "w+b", buffering=0, opener=_private)  # noqa: SIM115  kept open
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append; drops the first part of the file where it has grown too long."""
        data = data[-self.limit // 2 :]
        if self.size + len(data) > self.limit:
            self.file.seek(max(0, self.size - self.limit // 2))
            tail = self.file.read().partition(b"\n")[2]
            fresh = self.path + ".new"
            self.file.close()
            # A new file under the old name: whoever reads the old one reads it to its end.
            self.file = open(fresh, "w+b", buffering=0, opener=_private)  # noqa: SIM115
            self.file.write(tail)
            self.size = len(tail)
            Path(fresh).replace(self.path)
        self.file.write(data)
        self.size += len(data)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def say(**report: object) -> None:
    """Tell the service, if it is still there."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(report).encode() + b"\n")


def adopt_orphans() -> None:
    """Become the parent of the engine's orphans, so that they can be seen and reaped (Linux)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def attempt(call: Callable[..., Any], *arguments: object) -> Any:
    """Return the call's result, or None where its process no longer exists."""
    try:
        return call(*arguments)
    except OSError:
        return None


def children() -> list[int]:
    """Return the children of this process (Linux): the engine and its orphans."""
    try:
        listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        return [int(pid) for pid in listed.split()]
    except OSError:
        return []


def stat_of(pid: int) -> tuple[str, int]:
    """Return a process's state and group (Linux); empty and 0 where there is none to see."""
    try:
        # What stands in brackets is the program's name, which may have any character.
        state, _, group = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:3]
    except (OSError, ValueError):
        return "", 0
    return state, int(group)


def processes_of(group: int) -> list[int]:
    """Return the processes of a group (Linux)."""
    pids = (int(entry.name) for entry in Path("/proc").glob("[0-9]*"))
    return [pid for pid in pids if stat_of(pid)[1] == group]


def has_dead(pids: list[int]) -> bool:
    """Tell whether one of the processes has died and nobody has taken note of it (Linux)."""
    return any(stat_of(pid)[0] == "Z" for pid in pids)


class Guard:
    """The engine's process group and its output."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.log = Log(spec["log"], spec["limit"])
        self.engine = subprocess.Popen(
            spec["argv"],
            env=spec["env"],
            cwd=spec["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        self.group = self.engine.pid
        self.heard = b""
        self.exit: int | None = None
        self.stopped = False
        self.parts: list[int] = []
        assert self.engine.stdout is not None
        self.output: int | None = self.engine.stdout.fileno()
        os.set_blocking(self.output, False)

    def reap(self) -> bool:
        """Collect the dead; returns whether anything is left alive."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == self.group:
                self.exit = self.engine.returncode = os.waitstatus_to_exitcode(status)
        try:
            os.killpg(self.group, 0)
        except OSError as error:
            # EPERM is what macOS says of a group in which only zombies are left.
            return error.errno not in (errno.ESRCH, errno.EPERM) or bool(children())
        return True

    def signal(self, number: int) -> None:
        """Send a signal to the group, and to the orphans that have left it."""
        attempt(os.killpg, self.group, number)
        for pid in children():
            if attempt(os.getpgid, pid) != self.group:
                attempt(os.kill, pid, number)

    def copy(self) -> None:
        """Move some of what the engine has printed into the log."""
        for _ in range(BURST):
            if self.output is None:
                return
            try:
                data = os.read(self.output, 65536)
            except BlockingIOError:
                return
            if not data:
                self.output = None
                return
            with contextlib.suppress(OSError):  # a full disk must not stop the engine
                self.log.write(data)

    def watch(self) -> None:
        """Copy output until the engine's main process ends or the service lets go."""
        wake, poke = os.pipe()
        for fd in (wake, poke):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(poke, warn_on_full_buffer=False)
        self.reap()
        while self.exit is None:
            waiting = [0, wake] + ([self.output] if self.output is not None else [])
            ready, _, _ = select.select(waiting, [], [], LOOK if self.stopped else None)
            if self.stopped and has_dead(self.parts):
                # A stopped engine cannot see that a part of it has died, and end for that.
                self.wake()
            if wake in ready:
                os.read(wake, 512)
            self.copy()
            self.reap()
            if 0 in ready and not self.listen():
                return

    def listen(self) -> bool:
        """Do what the service says; returns False where it has let go."""
        said = os.read(0, 4096)
        *words, self.heard = (self.heard + said).split(b"\n")
        for word in words:
            if word == b"continue":
                self.wake()
            elif word == b"stop":
                self.sleep()
        return bool(said)

    def sleep(self) -> None:
        """Stop the engine, unless a part of it has died, which it must be able to see."""
        self.stopped = True
        self.signal(signal.SIGSTOP)
        # What is stopped starts no more processes, so these are all there are until it wakes.
        self.parts = processes_of(self.group)
        if has_dead(self.parts):
            self.wake()

    def wake(self) -> None:
        """Continue the engine."""
        self.stopped = False
        self.signal(signal.SIGCONT)

    def end(self) -> None:
        """Leave nothing of the engine alive."""
        for number, grace in (
            (signal.SIGTERM, GRACE if self.exit is None else GRACE_ORPHANS),
            (signal.SIGKILL, REAP),
        ):
            self.signal(number)
            # What sleeps would meet SIGTERM only when it wakes.
            self.signal(signal.SIGCONT)
            limit = time.monotonic() + grace
            told = self.exit is not None
            while self.reap() and time.monotonic() < limit:
                if self.exit is not None and not told:
                    told = True
                    limit = min(limit, time.monotonic() + GRACE_ORPHANS)
                self.copy()
                select.select([self.output] if self.output is not None else [], [], [], TICK)
            if not self.reap():
                break
        self.copy()


def main() -> None:
    """Read the order, start the engine, stay until it is gone."""
    # Handlers, not SIG_IGN, which the engine would inherit.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, lambda *_: None)
    adopt_orphans()
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(0, 1)
        if not data:
            return
        line += data
    spec = json.loads(line)
    try:
        guard = Guard(spec)
    except OSError as error:
        say(error=f"{spec['argv'][0]}: {error.strerror}")
    else:
        say(pid=guard.group)
        guard.watch()
        if guard.exit is not None:
            say(exit=guard.exit)
            guard.end()
        else:
            guard.end()
            say(exit=guard.exit)
    shutil.rmtree(spec["cwd"], ignore_errors=True)


if __name__ == "__main__":
    main()
