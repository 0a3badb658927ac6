"""The two hosts of the service."""

import pytest

from tests.service.hosting import hosting


@pytest.fixture(params=["process", "thread"])
def host(request):
    """Return `hosting` for each of the two hosts."""
    return lambda *args, **kwargs: hosting(request.param, *args, **kwargs)


@pytest.fixture
def thread():
    """Return `hosting` in a thread, for what is the same wherever the service lives."""
    return lambda *args, **kwargs: hosting("thread", *args, **kwargs)
