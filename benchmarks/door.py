"""A Jupyter server that is started as a user starts it, for measurements and tests of its door."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 120.0
"""Seconds that the server may take to start: its first import on a cold disk is slow."""


@contextmanager
def jupyter_server(place: Path, token: str) -> Iterator[str]:
    """Run a server on a free port for the duration of the block; gives the URL of the door.

    `place` is an empty directory for its files. Raises RuntimeError with its log if it ends.
    """
    runtime = place / "runtime"
    env = {**os.environ, "JUPYTER_RUNTIME_DIR": str(runtime)}
    log = place / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyter", "server", "--no-browser", "--allow-root"),
                *("--port=0", f"--IdentityProvider.token={token}"),
                f"--ServerApp.root_dir={place}",
            ],
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield f"{url_of(runtime, process, log)}hyperllama"
        finally:
            process.terminate()
            process.wait(timeout=30)


def pid_of(place: Path) -> int:
    """Return the process of the server that runs with its files at `place`."""
    [path] = (place / "runtime").glob("jpserver-*.json")
    return int(json.loads(path.read_text("utf-8"))["pid"])


def url_of(runtime: Path, process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Return where the server listens, which `process` is, with its runtime files in `runtime`.

    The server tells its port in a file before it listens there. Raises RuntimeError with what it
    wrote to `log` if it ends or does not come up.
    """
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        for path in runtime.glob("jpserver-*.json"):
            found = json.loads(path.read_text("utf-8") or "{}")
            if found and _listens(found["hostname"], found["port"]):
                return str(found["url"])
        time.sleep(0.05)
    raise RuntimeError(f"The Jupyter server did not start:\n{log.read_text('utf-8')}")


def _listens(host: str, port: int) -> bool:
    """Tell whether somebody takes connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
