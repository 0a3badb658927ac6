"""Real clients through a real Jupyter server, on real engines."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperllama_nb import Client

ROOT = Path(__file__).parents[2]
TOKEN = "a-jupyter-token"
PATIENCE = 120.0


@pytest.fixture(scope="module")
def door(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of the door in a Jupyter server that was started as a user starts it."""
    del client
    place = tmp_path_factory.mktemp("jupyter")
    env = {**os.environ, "JUPYTER_RUNTIME_DIR": str(place / "runtime")}
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyter", "server", "--no-browser", "--allow-root"),
                *("--port=0", f"--IdentityProvider.token={TOKEN}"),
                f"--ServerApp.root_dir={place}",
            ],
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield f"{_url(place, process)}hyperllama"
        finally:
            process.terminate()
            process.wait(timeout=30)


def _url(place: Path, process: "subprocess.Popen[bytes]") -> str:
    """Wait for the file in which the server says where it listens."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, (place / "log").read_text("utf-8")
        for path in (place / "runtime").glob("jpserver-*.json"):
            found = json.loads(path.read_text("utf-8") or "{}")
            if found.get("url"):
                return str(found["url"])
        time.sleep(0.1)
    raise AssertionError((place / "log").read_text("utf-8"))


def test_every_client_with_a_key(door: str, clients_python: Path) -> None:
    made = subprocess.run(
        [
            *(sys.executable, "-m", "hyperllama_nb", "key", "create", "--name", "clients"),
            *("--scope", "infer,models:read,models:write", "--expires", "1h"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    key = next(word for word in made.stdout.split() if word.startswith("hlnb_"))
    results = os.environ.get("HYPERLLAMA_TEST_CLIENT_RESULTS", "")
    modules = os.environ.get("HYPERLLAMA_TEST_NODE_MODULES", "")
    done = subprocess.run(
        [
            *(str(clients_python), "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("--confcutdir=tests/clients", "tests/clients"),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "OLLAMA_HOST": door,
            "OLLAMA_API_KEY": key,
            "HYPERLLAMA_TEST_COMPATIBILITY": results,
            "HYPERLLAMA_TEST_NODE_MODULES": modules,
        },
        check=False,
        capture_output=True,
        text=True,
    )
    print(done.stdout[-4000:])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_a_jupyter_token_opens_the_door_too(door: str) -> None:
    import httpx

    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert httpx.get(f"{door}/api/tags", headers=bearer).json()["models"]
    refused = httpx.get(f"{door}/api/tags")
    assert refused.status_code == 401
    assert "OLLAMA_API_KEY" in refused.json()["error"]
