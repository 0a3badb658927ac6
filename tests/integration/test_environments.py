"""A service that was started where MAX is not installed uses the MAX of a client's environment.

This is a Jupyter server without MAX whose kernels have it.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hyperllama_nb import Client
from hyperllama_nb.errors import ServiceError
from tests.integration.kernel import MODEL


@pytest.fixture
def bare(clients_python: Path, models: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the `hyperllama` of the environment without MAX, and a service place of its own."""
    with tempfile.TemporaryDirectory(prefix="he", dir="/tmp") as directory:
        monkeypatch.setenv("HYPERLLAMA_RUNTIME_DIR", directory)
        monkeypatch.setenv("MAX_SERVE_DUMMY_MODEL", "1")
        monkeypatch.delenv("HYPERLLAMA_MAX", raising=False)
        yield clients_python.parent / "hyperllama"
        with suppress(ServiceError):
            Client(start=False).stop(wait=False)


def test_a_client_brings_its_max(bare: Path) -> None:
    command = [bare, "load", MODEL, "--backend", "max"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    print(done.stderr)
    assert done.returncode == 1
    assert 'pip install "hyperllama-nb[max]"' in done.stderr
    assert "hyperllama setup-max" in done.stderr
    before = Client(start=False).status()
    assert before["prefix"] == str(bare.parent.parent)
    assert "error" in before["backends"]["max"]

    client = Client()
    answer = client.generate(MODEL, "Hello", options={"num_predict": 4, "backend": "max"})
    after = client.status()
    assert answer.usage.output_tokens
    assert after["pid"] == before["pid"]
    assert Path(after["backends"]["max"]["path"]).is_relative_to(os.path.realpath(sys.prefix))
