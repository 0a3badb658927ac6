"""Reading requests and writing NDJSON answers, as Ollama's clients expect them."""

import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, TypeVar

from aiohttp import web

from hyperllama_nb.errors import HyperLlamaError, RequestError

log = logging.getLogger(__name__)

T = TypeVar("T")
_MISSING: Any = object()

LEASE_HEADER = "X-HyperLlama-Lease"
PROGRESS_HEADER = "X-HyperLlama-Progress"

_decode = json.JSONDecoder().raw_decode


def now() -> str:
    """Return the time as Ollama writes it: RFC 3339, UTC, with a Z."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat() + "Z"


class Body:
    """A request's JSON object; keys match without regard to case, null counts as absent."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = {key.lower(): value for key, value in values.items() if value is not None}

    @classmethod
    async def read(cls, request: web.Request) -> "Body":
        """Parse the request's body; bytes after the first JSON value are ignored, as Ollama does.

        Raises RequestError if there is no body, or it is not a JSON object.
        """
        raw = await request.read()
        if not raw:
            raise RequestError("missing request body")
        try:
            value, _ = _decode(raw.decode().lstrip())
        except (ValueError, RecursionError) as error:
            raise RequestError(f"The request body is not JSON: {error}.") from error
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise RequestError(
                f'json: cannot unmarshal {_kind(value)} into an object; send {{"model": …}}.'
            )
        return cls(value)

    def get(self, name: str, kind: type[T], default: Any = _MISSING) -> T:
        """Return a field of the given type; raises RequestError for another type."""
        value = self._values.get(name, _MISSING)
        if value is _MISSING:
            return kind() if default is _MISSING else default
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise RequestError(
                f"json: cannot unmarshal {_kind(value)} into the field {name!r} "
                f"of type {kind.__name__}"
            )
        return value

    def raw(self, name: str) -> Any:
        """Return a field of any type, or None."""
        return self._values.get(name)


def _kind(value: Any) -> str:
    """Return JSON's word for the type of a value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    words: dict[type, str] = {str: "string", list: "array", dict: "object"}
    return words.get(type(value), "null")


def error_body(error: BaseException) -> dict[str, str]:
    """Return what a client reads of an error; an unexpected one keeps its details in the log."""
    if isinstance(error, HyperLlamaError):
        return {"error": str(error), "code": error.code}
    log.error("unexpected error", exc_info=error)
    return {
        "error": f"The service failed unexpectedly ({type(error).__name__}). "
        "`hyperllama logs` has the details.",
        "code": HyperLlamaError.code,
    }


class Lines:
    """An NDJSON answer that begins with its first line: an early error has a real status."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._response = web.StreamResponse(
            headers={
                "Content-Type": "application/x-ndjson",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )

    @property
    def started(self) -> bool:
        """Tell whether the status has been sent."""
        return self._response.prepared

    async def write(self, line: Mapping[str, Any]) -> None:
        """Send one object; waits while the client does not read."""
        if not self._response.prepared:
            await self._response.prepare(self._request)
        await self._response.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")

    async def send(self, lines: AsyncGenerator[Mapping[str, Any], None]) -> web.StreamResponse:
        """Send all lines; an error becomes a status before the first line, a last line after it.

        `lines` is closed at once when the client goes, which frees what it holds.
        """
        try:
            async with aclosing(lines):
                async for line in lines:
                    await self.write(line)
        except ConnectionError:
            raise
        except Exception as error:
            if not self.started:
                raise
            await self.write(error_body(error))
        return await self.end()

    async def end(self) -> web.StreamResponse:
        """End the answer, of which at least one line has been written."""
        await self._response.write_eof()
        return self._response


async def answer(
    request: web.Request, lines: AsyncGenerator[Mapping[str, Any], None], *, stream: bool
) -> web.StreamResponse:
    """Answer with all lines, or with the last one alone where the client does not stream."""
    if stream:
        return await Lines(request).send(lines)
    last: Mapping[str, Any] = {}
    async with aclosing(lines):
        async for line in lines:
            last = line
    return web.json_response(last)
