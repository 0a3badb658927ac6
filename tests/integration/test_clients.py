"""Real clients through a real Jupyter server, on real engines."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.door import jupyter_server
from hyperllama_nb import Client

ROOT = Path(__file__).parents[2]
TOKEN = "a-jupyter-token"


@pytest.fixture(scope="module")
def door(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of the door."""
    del client
    with jupyter_server(tmp_path_factory.mktemp("jupyter"), TOKEN) as url:
        yield url


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
            *("-W", "ignore::UserWarning:pydantic"),
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
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert httpx.get(f"{door}/api/tags", headers=bearer).json()["models"]
    refused = httpx.get(f"{door}/api/tags")
    assert refused.status_code == 401
    assert "OLLAMA_API_KEY" in refused.json()["error"]
