"""What the sync and the async client share: addresses, bodies, lines and errors."""

import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hyperllama_nb.errors import (
    EngineDiedError,
    HyperLlamaError,
    NotSupportedError,
    PullError,
    RequestError,
    ServiceError,
    from_wire,
)

PROGRESS = {"X-HyperLlama-Progress": "1"}
OLLAMA_PORT = 11434


@dataclass(frozen=True)
class Address:
    """Where the API is: a URL, and the Unix socket that leads there, if one does.

    `own` says that it is this user's own service, which we may start.
    """

    url: str
    socket: Path | None = None
    own: bool = False

    def __str__(self) -> str:
        """Return it as people write it."""
        return f"unix:{self.socket}" if self.socket else self.url


def parse_host(host: str | None) -> Address:
    """Return the address that a host names; None is the user's own service.

    >>> str(parse_host("unix:/run/llm.sock")), str(parse_host("box"))
    ('unix:/run/llm.sock', 'http://box:11434')
    >>> str(parse_host("https://hub.example/user/ann/hyperllama/"))
    'https://hub.example/user/ann/hyperllama'
    >>> str(parse_host("http://[::1]:8080")), str(parse_host("127.0.0.1:9000"))
    ('http://[::1]:8080', 'http://127.0.0.1:9000')
    """
    host = host or os.environ.get("HYPERLLAMA_HOST") or None
    if host is None:
        from hyperllama_nb.runtime import socket_path

        return Address("http://localhost", socket_path(), own=True)
    if host.startswith("unix:"):
        return Address("http://localhost", Path(host.removeprefix("unix:")))
    try:
        parts = urlsplit(host if "://" in host else f"http://{host}")
        name, port = parts.hostname, parts.port
    except ValueError:
        name = None
    if not name or parts.scheme not in {"http", "https"}:
        raise RequestError(
            f"The host {host!r} is not an address. Write http://HOST:PORT, or unix:/PATH."
        )
    shown = f"[{name}]" if ":" in name else name
    if port is None:
        port = OLLAMA_PORT if "://" not in host else {"http": 80, "https": 443}[parts.scheme]
    default = {"http": 80, "https": 443}[parts.scheme]
    suffix = "" if port == default else f":{port}"
    return Address(f"{parts.scheme}://{shown}{suffix}{parts.path.rstrip('/')}")


class Lines:
    """Splits bytes into NDJSON objects, at the byte 0x0A only.

    Text may hold U+0085 or U+2028 unescaped, which the line splitting of most libraries would cut.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Return the objects that the data completes."""
        if b"\n" not in data:
            self._parts.append(data)
            return []
        *whole, rest = b"".join([*self._parts, data]).split(b"\n")
        self._parts = [rest] if rest else []
        return [_object(line) for line in whole if line.strip()]

    def end(self) -> list[dict[str, Any]]:
        """Return the last object, which may lack its newline."""
        rest = b"".join(self._parts)
        self._parts = []
        return [_object(rest)] if rest.strip() else []


def check_line(line: dict[str, Any]) -> dict[str, Any]:
    """Return the line; raises the error that it describes, if it does."""
    if isinstance(line.get("error"), str):
        raise from_wire(line.get("code"), line["error"])
    return line


def http_error(status: int, body: bytes, address: Address) -> HyperLlamaError:
    """Return the error of an answer with a status of 400 and more, or of a redirection."""
    if 300 <= status < 400:
        return ServiceError(
            f"{address} redirects instead of answering (status {status}), as a login page does. "
            "Check the address, and the token in the `headers` of the client."
        )
    try:
        found = json.loads(body)
        message, code = found["error"], found.get("code")
    except (ValueError, TypeError, KeyError):
        message, code = body.decode(errors="replace").strip()[:500], None
    if not isinstance(message, str) or not message:
        message = f"{address} answered with status {status} and no explanation."
    if code is None and status in {401, 403}:
        return ServiceError(f"{message}. {address} asks for a token: give it in `headers`.")
    return from_wire(code, message, status)


def cut_short(kind: str, address: Address) -> HyperLlamaError:
    """Return the error of an answer that ends without its last line."""
    if kind == "pull":
        return PullError(
            "The pull ended without saying that it succeeded. What was fetched is kept: "
            "pull again to go on."
        )
    return EngineDiedError(
        f"The answer from {address} ended before it was done, so the engine or the service died. "
        "`hyperllama logs` (`%llm logs`) shows its last words; the same call starts it again."
    )


def unreachable(address: Address, reason: str) -> ServiceError:
    """Return the error of an address where nobody answers."""
    advice = (
        "`hyperllama start` (`%llm start`) starts it."
        if address.own
        else "Check the address, and that the service there runs."
    )
    return ServiceError(f"No service answers at {address} ({reason}). {advice}")


def broken(address: Address, reason: str) -> ServiceError:
    """Return the error of a connection that broke while an answer was on its way."""
    return ServiceError(
        f"The connection to {address} broke in the middle of an answer ({reason}): the service "
        "died or was stopped. `hyperllama logs` (`%llm logs`) may tell why; the same call starts "
        "it again."
    )


def timed_out(address: Address) -> ServiceError:
    """Return the error of an answer that took longer than the client's `timeout`."""
    return ServiceError(
        f"{address} did not answer within the client's `timeout`. A first answer waits for the "
        "model to load: give more time, or load it first."
    )


def generate_body(**fields: Any) -> dict[str, Any]:
    """Return the body of /api/generate: what is None stays out."""
    body = {name: plain_value(value) for name, value in fields.items() if value is not None}
    if body.get("images"):
        body["images"] = [_image(image) for image in body["images"]]
    return _named(body)


def chat_body(
    messages: Sequence[Mapping[str, Any] | Any] | None,
    tools: Sequence[Any] | None,
    **fields: Any,
) -> dict[str, Any]:
    """Return the body of /api/chat."""
    body = generate_body(**fields)
    body["messages"] = [_message(message) for message in messages or ()]
    if tools:
        if any(callable(tool) for tool in tools):
            raise NotSupportedError(
                "Python functions as tools are not supported yet. Leave `tools` out."
            )
        body["tools"] = [plain_value(tool) for tool in tools]
    return body


def create_body(
    messages: Sequence[Mapping[str, Any] | Any] | None, **fields: Any
) -> dict[str, Any]:
    """Return the body of /api/create."""
    body = {**generate_body(**fields), "stream": True}
    if messages:
        body["messages"] = [_message(message) for message in messages]
    return body


def pull_body(
    model: str,
    *,
    insecure: bool,
    name: str | None,
    compile: bool,  # noqa: A002  the field's name on the wire
    quantize: str | None,
) -> dict[str, Any]:
    """Return the body of /api/pull: what is as usual stays out."""
    body: dict[str, Any] = {"model": model, "insecure": insecure, "stream": True}
    if name is not None:
        body["name"] = name
    if not compile:
        body["compile"] = False
    if quantize is not None:
        body["quantize"] = quantize
    return body


def plain_value(value: Any) -> Any:
    """Return mappings, ranges of tokens and pydantic models as what JSON can say."""
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(exclude_none=True)
    if isinstance(value, Mapping):
        return {str(key): plain_value(item) for key, item in value.items()}
    return value


def _named(body: dict[str, Any]) -> dict[str, Any]:
    if not body.get("model"):
        raise RequestError("No model is named. Give its name, such as 'smollm2:135m'.")
    return body


def _message(message: Mapping[str, Any] | Any) -> dict[str, Any]:
    found = plain_value(message)
    if not isinstance(found, dict):
        raise RequestError(
            f"A message is a dict with 'role' and 'content', not {type(message).__name__}."
        )
    kept = {name: value for name, value in found.items() if value is not None}
    if kept.get("images"):
        kept["images"] = [_image(image) for image in kept["images"]]
    return kept


def _image(image: Any) -> str:
    """Return an image in base64: bytes, a path, or base64 text as it is."""
    if isinstance(image, bytes | bytearray):
        return base64.b64encode(image).decode()
    if isinstance(image, os.PathLike):
        return base64.b64encode(Path(image).read_bytes()).decode()
    return str(getattr(image, "value", image))


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ServiceError(
            "The answer is not the API's: a line of it is not a JSON object. Check the address; "
            "a proxy or a login page may stand there."
        )
    return found
