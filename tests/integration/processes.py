"""Looking at real processes: what belongs to an engine, what listens, what is left."""

import time
from pathlib import Path

import psutil


def group_of(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def listening(processes: list[psutil.Process]) -> list[str]:
    """Return the TCP addresses that the processes listen on."""
    found = []
    for process in processes:
        try:
            connections = process.net_connections(kind="tcp")
        except psutil.Error:
            continue
        found += [f"{c.laddr.ip}:{c.laddr.port}" for c in connections if c.status == "LISTEN"]
    return found


def survivors(processes: list[psutil.Process]) -> list[str]:
    """Return those that still run; the dead that nobody has reaped yet do not count."""
    left = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                left.append(f"{process.pid} {' '.join(process.cmdline())[:80]}")
        except psutil.Error:
            continue
    return left


def left_after(processes: list[psutil.Process], sockets: list[Path], seconds: float) -> list[str]:
    """Return what is left of processes and sockets once all are gone or the time is up."""
    deadline = time.monotonic() + seconds
    while True:
        left = survivors(processes) + [str(path) for path in sockets if path.exists()]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)
