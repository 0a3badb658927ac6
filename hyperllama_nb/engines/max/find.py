"""Finding the `max` program, its interpreter and its version, without importing it."""

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from hyperllama_nb.errors import EngineMissingError

RELEASE = "26.7"
"""The release of MAX whose command line, log and HTTP interface this package knows."""

_SHEBANG = re.compile(rb"^#!\s*(/\S.*?)\s*$", re.MULTILINE)
_TRAMPOLINE = re.compile(rb"^'''exec' (?:\"([^\"]+)\"|(\S+)) ", re.MULTILINE)
_VERSION_LIMIT = 60


@dataclass(frozen=True)
class Found:
    """An installed MAX: the program, the Python that runs it, its version."""

    path: Path
    python: Path
    version: str


def private_environment() -> Path:
    """Return the directory of the environment that `hyperllama setup-max` makes."""
    return platformdirs.user_data_path("hyperllama") / f"max-{RELEASE}"


def find(told: str | None = None) -> Found:
    """Return the MAX to use: HYPERLLAMA_MAX, `told` (by a client), ours, the private one.

    Raises EngineMissingError with the commands that install it.
    """
    rejected: list[str] = []
    for origin, path in _candidates(told):
        if not (path.is_file() and os.access(path, os.X_OK)):
            if origin == "HYPERLLAMA_MAX":
                raise EngineMissingError(
                    f"HYPERLLAMA_MAX names {path}, which is not an executable file. "
                    "Correct it, or unset it to use the MAX of this environment."
                )
            continue
        python = interpreter(path)
        version = _version(python, "max", path.stat().st_mtime_ns) if python else None
        if python is None or version is None:
            rejected.append(f"{path} ({origin}) is not the command of an installed MAX")
        elif not version.startswith(f"{RELEASE}."):
            rejected.append(f"{path} ({origin}) is MAX {version}")
        else:
            return Found(path, python, version)
    seen = f" Passed over: {'; '.join(rejected)}." if rejected else ""
    raise EngineMissingError(
        f"No MAX {RELEASE} was found, which runs the models.{seen} Install it beside this package "
        f'with `{sys.executable} -m pip install "hyperllama-nb[max]"`, or into an environment of '
        "its own with `hyperllama setup-max`, or set HYPERLLAMA_MAX to the path of a `max` command."
    )


def _candidates(told: str | None) -> Iterator[tuple[str, Path]]:
    named = os.environ.get("HYPERLLAMA_MAX")
    if named:
        # Where the user says which one, no other one may stand in.
        yield "HYPERLLAMA_MAX", Path(shutil.which(named) or named).absolute()
        return
    if told:
        yield "told by a client", Path(told)
    yield "beside this Python", Path(sys.executable).parent / "max"
    yield "private environment", private_environment() / "bin" / "max"


def interpreter(command: Path) -> Path | None:
    """Return the Python that a console script runs with: that of its first line."""
    try:
        with command.open("rb") as file:
            start = file.read(4096)
    except OSError:
        return None
    shebang = _SHEBANG.match(start)
    if shebang is None:
        return None
    # Installers write a shell trampoline where the path is too long for a first line.
    trampoline = _TRAMPOLINE.search(start)
    found = (trampoline[1] or trampoline[2]) if trampoline else shebang[1]
    words = os.fsdecode(found)
    if words.startswith("/usr/bin/env "):
        words = shutil.which(words.split()[-1]) or ""
    return Path(words) if words and Path(words).exists() else None


def carries(python: Path, project: str) -> bool:
    """Tell whether a project is installed in the environment of `python`."""
    return _version(python, project) is not None


def _version(python: Path, project: str, changed: int = 0) -> str | None:
    """Return the version of a project in the environment of `python`, None if there is none.

    `changed` is when it was last installed, as far as that is known: an answer holds until then.
    """
    for metadata in python.parent.parent.glob(f"lib/python3*/site-packages/{project}-*.dist-info"):
        return metadata.name.removeprefix(f"{project}-").removesuffix(".dist-info")
    return _asked_version(python, project, changed)


@functools.lru_cache
def _asked_version(python: Path, project: str, _changed: int) -> str | None:
    """Ask the interpreter, which alone knows where it looks for packages."""
    question = f"import importlib.metadata as m; print(m.version({project!r}))"
    try:
        answer = subprocess.run(
            [python, "-c", question],
            capture_output=True,
            text=True,
            timeout=_VERSION_LIMIT,
            check=True,
            cwd="/",
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
