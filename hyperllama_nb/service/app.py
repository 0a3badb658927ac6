"""The HTTP application of the service."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from hyperllama_nb.access.hosts import host_allowed
from hyperllama_nb.access.limits import MAX_BODY_BYTES
from hyperllama_nb.service.keys import SERVICE
from hyperllama_nb.service.refusals import http_refusal, refusal
from hyperllama_nb.service.routes import (
    admin,
    create,
    embedding,
    generation,
    ollama,
    openai,
    show,
    tokens,
    unsupported,
)
from hyperllama_nb.service.service import Service

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_app(service: Service) -> web.Application:
    """Return the application with all routes; every door leads to it."""
    app = web.Application(middlewares=[_errors, _hosts, _activity], client_max_size=MAX_BODY_BYTES)
    app[SERVICE] = service
    for module in (
        *(ollama, show, generation, create, embedding, tokens, openai),
        *(admin, unsupported),
    ):
        app.add_routes(module.routes)
    return app


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer each error with a status and one JSON object, in the caller's dialect."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return http_refusal(request, error)
    except ConnectionError:
        raise
    except Exception as error:  # noqa: BLE001  the boundary: nothing may leave without an answer
        return refusal(request, error)


@web.middleware
async def _hosts(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse foreign Host headers on TCP: a web page can give this machine a name of its own."""
    transport = request.transport
    name = transport.get_extra_info("sockname") if transport else None
    if isinstance(name, tuple):
        if not host_allowed(request.headers.get("Host", ""), extra=(str(name[0]),)):
            return web.json_response(
                {
                    "error": "The Host header names a host that this service does not answer for. "
                    "Use localhost or 127.0.0.1 in the URL."
                },
                status=403,
            )
        if request.path.startswith("/admin/"):
            return web.Response(status=404, text="404 page not found")
    return await handler(request)


@web.middleware
async def _activity(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count what keeps the service alive: every request but the polls of a monitor."""
    if request.path in ("/admin/status", "/health"):
        return await handler(request)
    with request.app[SERVICE].active():
        return await handler(request)
