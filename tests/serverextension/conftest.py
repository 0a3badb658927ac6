"""One Jupyter server in front of one service with FakeEngines."""

import pytest

from tests.serverextension.jupyter import jupyter
from tests.service.hosting import PLAIN, hosting


@pytest.fixture(scope="module")
def scripts():
    """Return what the engines do; a module may say otherwise."""
    return PLAIN


@pytest.fixture(scope="module")
def service(scripts):
    """Return a service in a process of its own, for the module."""
    with hosting("process", scripts) as running:
        yield running


@pytest.fixture(scope="module")
def server(service):
    """Return a Jupyter server whose door leads to the service, for the module."""
    with jupyter() as running:
        yield running
