"""The keys under which the application holds the service, and a request its caller."""

from typing import TYPE_CHECKING

from aiohttp import web

from hyperllama_nb.access.callers import LOCAL, Caller

if TYPE_CHECKING:
    from hyperllama_nb.service.service import Service

SERVICE: web.AppKey["Service"] = web.AppKey("service")

CALLER = "caller"
"""The key of a request under which the access middleware puts who asks."""


def caller(request: web.Request) -> Caller:
    """Return who asks."""
    found: Caller = request.get(CALLER, LOCAL)
    return found
