"""The door's own refusals on the wire: in Ollama's form, or in OpenAI's below `/v1`."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import responses

from hyperllama_nb.errors import AuthenticationError, HyperLlamaError
from hyperllama_nb.service.openai.errors import code_of, envelope, status_of


@dataclass(frozen=True)
class Refusal:
    """An answer that the door gives by itself; its body is JSON."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def refusal(error: HyperLlamaError, path: str) -> Refusal:
    """Return what an error becomes for a client that asked for this path below the door."""
    headers = {}
    if isinstance(error, AuthenticationError):
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    status = status_of(error) if _openai(path) else error.status
    return Refusal(status, _body(str(error), status, error, path), headers)


def plain_refusal(status: int, message: str, path: str) -> Refusal:
    """Return a refusal that is no error of this package, such as that there is no such route."""
    code = responses.get(status, "error").lower().replace(" ", "_")
    if _openai(path):
        return Refusal(status, json.dumps(envelope(message, status, code)).encode())
    return Refusal(status, json.dumps({"error": message, "code": code}).encode())


def last_words(error: HyperLlamaError, path: str, content_type: str) -> bytes | None:
    """Return the end of an answer that breaks off; None if its kind has no place for an error."""
    kind = content_type.partition(";")[0].strip().lower()
    body = _body(str(error), error.status, error, path)
    if kind == "text/event-stream":
        return b"data: " + body + b"\n\n"
    return body + b"\n" if kind == "application/x-ndjson" else None


def _body(message: str, status: int, error: HyperLlamaError, path: str) -> bytes:
    if _openai(path):
        return json.dumps(envelope(message, status, code_of(error))).encode()
    return json.dumps({"error": message, "code": error.code}).encode()


def _openai(path: str) -> bool:
    return path.startswith("/v1/")
