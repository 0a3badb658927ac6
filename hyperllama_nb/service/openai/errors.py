"""Errors in OpenAI's envelope."""

from typing import Any

from hyperllama_nb.errors import (
    AuthenticationError,
    BusyError,
    ForbiddenError,
    HyperLlamaError,
    PromptTooLongError,
    RateLimitedError,
)

TOO_MANY = RateLimitedError.status

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}

_CODES: tuple[tuple[type[HyperLlamaError], str], ...] = (
    (AuthenticationError, "invalid_api_key"),
    (ForbiddenError, "insufficient_permissions"),
    (PromptTooLongError, "context_length_exceeded"),
    (RateLimitedError, "rate_limit_exceeded"),
    (BusyError, "rate_limit_exceeded"),
)
"""The codes that OpenAI's clients know; all other errors keep their own."""


def status_of(error: BaseException) -> int:
    """Return the HTTP status of an error: a full queue is 429 here, where Ollama says 503."""
    if isinstance(error, BusyError):
        return TOO_MANY
    return error.status if isinstance(error, HyperLlamaError) else HyperLlamaError.status


def code_of(error: BaseException) -> str:
    """Return the error's `code`."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return error.code if isinstance(error, HyperLlamaError) else HyperLlamaError.code


def envelope(message: str, status: int, code: str) -> dict[str, Any]:
    """Return the body of an error.

    >>> envelope("model 'x' not found", 404, "model_not_found")["error"]["type"]
    'not_found_error'
    """
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
