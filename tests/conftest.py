"""Keep every test away from the user's own service, store and settings."""

import functools
import os
import shutil
import signal
import ssl
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.compat import pytest_configure, pytest_runtest_makereport

__all__ = ["pytest_configure", "pytest_runtest_makereport"]

# With JupyterLab comes a parser of addresses that jsonschema builds at its import, for 1.6 s in
# each worker. Without it jsonschema does not check one format (`iri`), which nothing here uses.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

# Each client of httpx reads all certificates anew, for 20 ms, though most use a Unix socket.
ssl.create_default_context = functools.cache(ssl.create_default_context)

# Half of the usual examples: the suite runs all day.
settings.register_profile("suite", max_examples=50)
settings.load_profile("suite")

_KEPT = {
    "HYPERLLAMA_TEST_CHROMIUM",
    "HYPERLLAMA_TEST_CLIENTS_PYTHON",
    "HYPERLLAMA_TEST_CLIENT_RESULTS",
    "HYPERLLAMA_TEST_MODELS",
    "HYPERLLAMA_TEST_NODE_MODULES",
    "HYPERLLAMA_TEST_WRITE_IMAGES",
}


def _move_to(place: Path, patch: pytest.MonkeyPatch) -> None:
    """Point everything that the package reads or writes below one directory."""
    for name in list(os.environ):
        if name.startswith(("HYPERLLAMA_", "OLLAMA_")) and name not in _KEPT:
            patch.delenv(name)
    runtime = place / "r"
    runtime.mkdir(mode=0o700)
    patch.setenv("HYPERLLAMA_RUNTIME_DIR", str(runtime))
    patch.setenv("HYPERLLAMA_MODELS", str(place / "models"))
    patch.setenv("HYPERLLAMA_CACHE", str(place / "cache"))
    patch.setenv("IPYTHONDIR", str(place / "ipython"))
    # No test asks a registry; those of the hub talk to a server of their own.
    patch.setenv("HYPERLLAMA_PULL_HOSTS", "hf.co")
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        patch.setenv(name, str(place / name.lower()))


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Let tests interrupt themselves, also where the shell started them with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def session_place() -> Iterator[Path]:
    """Give the session a directory of its own, short because a Unix socket's path has little room.

    Integration and browser tests share it, and with it one service; they also share the store and
    the compile cache that `HYPERLLAMA_TEST_MODELS` and `HYPERLLAMA_CACHE` name.
    """
    shared = {
        "HYPERLLAMA_MODELS": os.environ.get("HYPERLLAMA_TEST_MODELS"),
        "HYPERLLAMA_CACHE": os.environ.get("HYPERLLAMA_CACHE"),
        "HYPERLLAMA_MAX": os.environ.get("HYPERLLAMA_MAX"),
    }
    place = Path(tempfile.mkdtemp(prefix="hl", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        _move_to(place, patch)
        for name, value in shared.items():
            if value:
                patch.setenv(name, value)
        yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(autouse=True)
def own_place(
    request: pytest.FixtureRequest, session_place: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Give each unit test a directory of its own."""
    if {"integration", "browser"} & set(request.path.parts):
        return session_place
    place = Path(tempfile.mkdtemp(prefix="t", dir=session_place))
    _move_to(place, monkeypatch)
    # An IPython shell puts a module of its own there, with which no process can be spawned.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    return place
