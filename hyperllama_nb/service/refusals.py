"""What an error becomes on the wire: Ollama's form, or OpenAI's below `/v1`."""

import logging
import math
from typing import Any

from aiohttp import web

from hyperllama_nb.errors import AuthenticationError, HyperLlamaError
from hyperllama_nb.service.openai.errors import code_of, envelope, status_of
from hyperllama_nb.service.privacy import outline

log = logging.getLogger(__name__)

_TEXTS = {404: "404 page not found", 405: "405 method not allowed"}
"""What Ollama's router says, in plain text; here it is the error of an object like any other."""

_ROUTES = (
    "POST /v1/chat/completions, /v1/completions and /v1/embeddings, and GET /v1/models are there."
)


def refusal(request: web.Request, error: BaseException) -> web.Response:
    """Return the answer that an error becomes before the first byte of another one."""
    headers = {}
    if isinstance(error, AuthenticationError):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, HyperLlamaError) and error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    if _in_openais_words(request):
        return web.json_response(openai_error(error), status=status_of(error), headers=headers)
    status = error.status if isinstance(error, HyperLlamaError) else HyperLlamaError.status
    return web.json_response(error_body(error), status=status, headers=headers)


def http_refusal(request: web.Request, error: web.HTTPException) -> web.Response:
    """Return the answer to a request that reaches no route, or none to the end."""
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    code = error.reason.lower().replace(" ", "_")
    if _in_openais_words(request):
        message = f"{request.method} {request.path}: {error.reason}. {_ROUTES}"
        body = envelope(message, error.status, code)
        return web.json_response(body, status=error.status, headers=headers)
    text = _TEXTS.get(error.status) or error.text or error.reason
    return web.json_response({"error": text, "code": code}, status=error.status, headers=headers)


def error_body(error: BaseException) -> dict[str, str]:
    """Return an error as Ollama's routes tell it."""
    code = error.code if isinstance(error, HyperLlamaError) else HyperLlamaError.code
    return {"error": _message(error), "code": code}


def openai_error(error: BaseException) -> dict[str, Any]:
    """Return an error as OpenAI's routes tell it."""
    return envelope(_message(error), status_of(error), code_of(error))


def _message(error: BaseException) -> str:
    """Return what a client reads of an error; an unexpected one keeps its details in the log."""
    if isinstance(error, HyperLlamaError):
        return str(error)
    log.error("unexpected error\n%s", outline(error))
    return (
        f"The service failed unexpectedly ({type(error).__name__}). "
        "`hyperllama logs` has the details."
    )


def _in_openais_words(request: web.Request) -> bool:
    return request.path.startswith("/v1/")
