"""What the control groups of this process leave it: processors and memory."""

import math
from collections.abc import Iterator
from pathlib import Path

_UNLIMITED = 1 << 60
"""Bytes; version 1 writes "no limit" as the largest multiple of the page size."""


def quota(root: Path = Path("/")) -> int | None:
    """Return the processors that the tightest quota allows, rounded up; None without a quota.

    `root` is the directory that holds `proc` and `sys`.
    """
    found = [
        math.ceil(share)
        for directory, version in _directories("cpu", root)
        if (share := _share(directory, version)) is not None
    ]
    return max(1, min(found)) if found else None


def memory(root: Path = Path("/")) -> tuple[int, int] | None:
    """Return the tightest memory limit and the least room left under any limit, in bytes.

    A group above its `memory.high` is slowed down until it is useless, so that is a limit too.
    Cached pages of files that no process has mapped count as room. None without a limit.
    """
    limits: list[int] = []
    rooms: list[int] = []
    for directory, version in _directories("memory", root):
        names = ("memory.max", "memory.high") if version == 2 else ("memory.limit_in_bytes",)
        found = [
            limit
            for name in names
            if (limit := _number(directory / name)) is not None and limit < _UNLIMITED
        ]
        if not found:
            continue
        usage = "memory.current" if version == 2 else "memory.usage_in_bytes"
        used = _number(directory / usage) or 0
        used -= min(used, _droppable(_statistics(directory / "memory.stat"), version))
        limits.append(min(found))
        rooms.append(max(0, min(found) - used))
    return (min(limits), min(rooms)) if limits else None


def _droppable(statistics: dict[str, int], version: int) -> int:
    """Return the bytes that the kernel takes from the cache of files before it needs others.

    Files that are mapped belong to running programs, as an engine's weights do.
    """
    prefix, mapped = ("", "file_mapped") if version == 2 else ("total_", "total_mapped_file")
    inactive = statistics.get(f"{prefix}inactive_file", 0)
    cached = inactive + statistics.get(f"{prefix}active_file", 0)
    return max(inactive, cached - statistics.get(mapped, 0))


def _directories(controller: str, root: Path) -> Iterator[tuple[Path, int]]:
    """Yield the directories from this process's group up to its mount, each with its version."""
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        version = 1 if controllers else 2
        if version == 1 and controller not in controllers.split(","):
            continue
        mount = _mount(controller, version, root)
        if mount is None:
            continue
        top, inner = mount
        directory = top / _below(group, inner)
        # A container may show its own group as the mount while the path is the host's.
        if not directory.is_dir():
            directory = top
        while True:
            yield directory, version
            if directory == top:
                break
            directory = directory.parent


def _below(group: str, inner: str) -> str:
    """Return the group's path relative to the part of the hierarchy that is mounted."""
    if inner != "/" and (group == inner or group.startswith(inner.rstrip("/") + "/")):
        group = group[len(inner) :]
    parts = [part for part in group.split("/") if part]
    return "/".join(parts) if ".." not in parts else ""


def _mount(controller: str, version: int, root: Path) -> tuple[Path, str] | None:
    """Return where a hierarchy is mounted and which of its directories that shows."""
    for line in _lines(root / "proc/self/mountinfo"):
        left, separator, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if not separator or len(fields) < 5 or len(kind) < 3:
            continue
        fits = (
            kind[0] == "cgroup2"
            if version == 2
            else kind[0] == "cgroup" and controller in kind[2].split(",")
        )
        if fits:
            return root / fields[4].lstrip("/"), fields[3]
    return None


def _share(directory: Path, version: int) -> float | None:
    """Return the quota of one directory in processors."""
    if version == 2:
        parts = " ".join(_lines(directory / "cpu.max")).split()
        if len(parts) != 2 or not all(part.isdigit() for part in parts):
            return None
        allowed, period = int(parts[0]), int(parts[1])
    else:
        allowed = _number(directory / "cpu.cfs_quota_us") or -1
        period = _number(directory / "cpu.cfs_period_us") or 0
    return allowed / period if allowed > 0 and period > 0 else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    try:
        return int("".join(_lines(path)))
    except ValueError:
        return None


def _statistics(path: Path) -> dict[str, int]:
    fields = (line.partition(" ") for line in _lines(path))
    return {name: int(value) for name, _, value in fields if value.strip().isdigit()}
