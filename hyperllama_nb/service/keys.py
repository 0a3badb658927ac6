"""The keys under which the application holds the service, and a request its caller."""

from typing import TYPE_CHECKING

from aiohttp import web

from hyperllama_nb.access.callers import Caller

if TYPE_CHECKING:
    from hyperllama_nb.service.service import Service

SERVICE: web.AppKey["Service"] = web.AppKey("service")

CALLER = web.RequestKey("CALLER", Caller)
"""The key of a request under which the access middleware puts who asks."""

PRIVATE = web.RequestKey("PRIVATE", bool)
"""The key of a request under which it says whether the Unix socket was the way in."""

MODEL = web.RequestKey("MODEL", str)
"""The key of a request under which a route puts the name of the model that it found."""

CODE = web.RequestKey("CODE", str)
"""The key of a request under which the code of its error is."""


def caller(request: web.Request) -> Caller:
    """Return who asks."""
    return request[CALLER]


def private_header(request: web.Request, name: str) -> str | None:
    """Return a header that counts from the user's own programs alone, None from anywhere else."""
    return request.headers.get(name) if request[PRIVATE] else None
