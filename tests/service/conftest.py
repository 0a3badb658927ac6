"""The two hosts of the service."""

import pytest

from tests.service.hosting import hosting


@pytest.fixture(autouse=True)
def own_place():
    """Leave the place to the services, which each have their own."""


HOSTS = [pytest.param("process", marks=pytest.mark.slow), "thread"]


@pytest.fixture(scope="module", params=HOSTS)
def service(request):
    """Return a plain service that lives as long as the module, on each of the two hosts."""
    with hosting(request.param) as running:
        yield running


@pytest.fixture
def client(service):
    """Return the service's HTTP client."""
    return service.client


@pytest.fixture(params=HOSTS)
def host(request):
    """Return `hosting` for each of the two hosts."""
    return lambda *args, **kwargs: hosting(request.param, *args, **kwargs)


@pytest.fixture
def thread():
    """Return `hosting` in a thread, for what is the same wherever the service lives."""
    return lambda *args, **kwargs: hosting("thread", *args, **kwargs)
