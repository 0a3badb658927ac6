"""Looking at and ending the process group of an engine."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import psutil

KILL_LIMIT = 5.0
"""Seconds to wait for killed processes to vanish."""


def members(group: int) -> Iterator[psutil.Process]:
    """Yield the processes of a group, zombies left out."""
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getpgid(pid) == group:
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    yield process


def kill_group(group: int) -> None:
    """Kill a group and wait until it is empty."""
    with contextlib.suppress(OSError):
        os.killpg(group, signal.SIGKILL)
    limit = time.monotonic() + KILL_LIMIT
    while any(True for _ in members(group)) and time.monotonic() < limit:
        time.sleep(0.05)


def memory_of(group: int, *others: int) -> int:
    """Return the bytes of memory of a group, and of other processes by their ids.

    Pages that processes share count once, on Linux.
    """
    total = 0
    pids = [*(process.pid for process in members(group)), *others]
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            try:
                total += process.memory_full_info().pss
            except (psutil.AccessDenied, AttributeError):
                total += process.memory_info().rss
    return total


def cpu_of(group: int) -> float:
    """Return the seconds of processor time that the living processes of a group have used."""
    total = 0.0
    for process in members(group):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def loopback_port(group: int) -> int | None:
    """Return the TCP port on which a process of the group listens, None if none does."""
    for process in members(group):
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    return int(connection.laddr.port)
    return None
