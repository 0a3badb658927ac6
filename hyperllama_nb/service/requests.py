"""Each request's id, its line in the log, and its place in the metrics."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from hyperllama_nb.engines.requestid import HEADER, REQUEST_ID, request_id
from hyperllama_nb.errors import HyperLlamaError
from hyperllama_nb.service.keys import CALLER, CODE, MODEL, SERVICE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CLIENT_GONE = 499
"""The status in log and metrics of a request whose client left; nobody is sent it."""

POLLS = frozenset(
    {"/admin/models", "/admin/plan", "/admin/samples", "/admin/status", "/health", "/metrics"}
)
"""What monitors ask for over and over."""

FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request)s]: %(message)s"
"""Of the service's log; needs `RequestIds` on the handler."""

log = logging.getLogger(__name__)


class RequestIds(logging.Filter):
    """Gives each record the id of the request that caused it, as `request`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        record.request = REQUEST_ID.get()
        return True


def route_of(request: web.Request) -> str:
    """Return the pattern of the route that answers, which no client can invent."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "other"


@web.middleware
async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Name the request, measure it, and log it: never its content, query or credentials."""
    REQUEST_ID.set(request_id(request.headers.get(HEADER)))
    started = time.perf_counter()
    status = CLIENT_GONE
    try:
        response = await handler(request)
        status = response.status
        return response
    except (asyncio.CancelledError, ConnectionError):
        raise
    except BaseException:
        status = 500
        raise
    finally:
        seconds = time.perf_counter() - started
        route = route_of(request)
        request.app[SERVICE].metrics.answered(route, status, seconds, request.get(CODE))
        asking = request.get(CALLER)
        log.log(
            logging.DEBUG if route in POLLS else logging.INFO,
            "%s %s %d %.3f s caller=%s model=%s",
            *(request.method, route, status, seconds),
            *(_word(asking.id if asking else ""), _word(request.get(MODEL, ""))),
        )


@web.middleware
async def note_cause(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Note the code of the error that ends a request, before it becomes an answer."""
    try:
        return await handler(request)
    except HyperLlamaError as error:
        request[CODE] = error.code
        raise


async def tell_id(request: web.Request, response: web.StreamResponse) -> None:
    """Put the id into the headers of every answer, streams and errors included."""
    del request
    response.headers[HEADER] = REQUEST_ID.get()


def _word(text: str) -> str:
    """Return a text that cannot end a line of the log or pretend to be another field."""
    return "".join(c if c.isprintable() and c != " " else "?" for c in text) or "-"
