"""The fake service, for what shows its answers."""

from tests.client.conftest import client, service

__all__ = ["client", "service"]
