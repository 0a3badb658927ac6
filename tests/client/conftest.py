"""A fake service where this test's user would have the real one."""

from collections.abc import Iterator

import pytest

from hyperllama_nb.client import Client, _start
from hyperllama_nb.runtime import socket_path
from tests.client.fakeservice import FakeService


@pytest.fixture
def service() -> Iterator[FakeService]:
    found = FakeService(socket_path())
    yield found
    _start.drop(found.path)
    found.stop()


@pytest.fixture
def client(service: FakeService) -> Iterator[Client]:
    with Client() as made:
        yield made
