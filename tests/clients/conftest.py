"""Real clients against a real door; they run in an environment of their own.

`tests/integration/test_clients.py` starts a Jupyter server, makes a key, and runs this folder with
what a user would set: OLLAMA_HOST and OLLAMA_API_KEY.
"""

import os

import pytest

from tests.compat import pytest_configure, pytest_runtest_makereport

__all__ = ["pytest_configure", "pytest_runtest_makereport"]

MODEL = "smollm2:135m"
EMBEDDER = "all-minilm:latest"

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."

EXACT = {"temperature": 0, "num_predict": 24}


def needed(name):
    value = os.environ.get(name)
    if not value:
        pytest.fail(f"{name} is not set. Run these tests with `make test`.")
    return value


@pytest.fixture(scope="session")
def host():
    """Return the door's URL, as OLLAMA_HOST has it."""
    return needed("OLLAMA_HOST")


@pytest.fixture(scope="session")
def key():
    """Return the key that OLLAMA_API_KEY has."""
    return needed("OLLAMA_API_KEY")
