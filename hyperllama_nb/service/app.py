"""The HTTP application of the service."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from hyperllama_nb.access.limits import MAX_BODY_BYTES
from hyperllama_nb.service.gate import Gate
from hyperllama_nb.service.keys import SERVICE
from hyperllama_nb.service.refusals import http_refusal, refusal
from hyperllama_nb.service.requests import POLLS, identify, note_cause, tell_id
from hyperllama_nb.service.routes import (
    admin,
    create,
    embedding,
    generation,
    inventory,
    metrics,
    ollama,
    openai,
    show,
    tokens,
    unsupported,
)
from hyperllama_nb.service.service import Service
from hyperllama_nb.service.slashes import TrailingSlash

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_app(service: Service) -> web.Application:
    """Return the application with all routes; every door leads to it."""
    gate = Gate(service)
    app = web.Application(
        middlewares=[identify, _errors, note_cause, *gate.middlewares, _activity],
        client_max_size=MAX_BODY_BYTES,
    )
    app.on_response_prepare.extend((gate.headers, tell_id))
    app[SERVICE] = service
    for module in (
        *(ollama, show, generation, create, embedding, tokens, openai),
        *(admin, inventory, metrics, unsupported),
    ):
        app.add_routes(module.routes)
    app.router.register_resource(TrailingSlash(app.router))
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
async def _activity(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count what keeps the service alive: every request but the polls of a monitor."""
    if request.path in POLLS:
        return await handler(request)
    with request.app[SERVICE].active():
        return await handler(request)
