"""One service with one real engine for the whole run."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperllama_nb import Client
from hyperllama_nb.errors import ServiceError
from tests.integration.kernel import MODEL


@pytest.fixture(scope="session")
def models(session_place: object) -> str:
    """Return the store with the pulled default model."""
    path = os.environ.get("HYPERLLAMA_TEST_MODELS")
    if not path:
        pytest.fail("HYPERLLAMA_TEST_MODELS is not set. Run the tests with `make test`.")
    return path


@pytest.fixture(scope="session")
def clients_python() -> Path:
    """Return the interpreter of the environment that has this package without MAX, and clients."""
    path = os.environ.get("HYPERLLAMA_TEST_CLIENTS_PYTHON")
    if not path:
        pytest.fail("HYPERLLAMA_TEST_CLIENTS_PYTHON is not set. Run the tests with `make test`.")
    return Path(path)


@pytest.fixture(scope="session")
def client(models: str) -> Iterator[Client]:
    """Return a client of a service that runs the default model on real MAX."""
    client = Client()
    client.load(MODEL, keep_alive="1h")
    yield client
    # The tests in the browser share the service, and one of the two ends it first.
    with contextlib.suppress(ServiceError):
        client.stop(wait=False)
