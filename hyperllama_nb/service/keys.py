"""The key under which the application holds the service."""

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from hyperllama_nb.service.service import Service

SERVICE: web.AppKey["Service"] = web.AppKey("service")


class _Owner:
    id = "local"
    local = True


def caller(request: web.Request) -> _Owner:
    """Return who asks (placeholder until helper G's access is here)."""
    del request
    return _Owner()
