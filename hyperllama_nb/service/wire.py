"""Reading requests and writing answers: NDJSON for Ollama's clients, events for OpenAI's."""

import asyncio
import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, ClassVar, Generic, TypeVar

from aiohttp import web

from hyperllama_nb.access import limits
from hyperllama_nb.access.limits import MAX_BODY_BYTES, MAX_NESTING, nested_too_deeply
from hyperllama_nb.errors import RequestError, SlowRequestError, TooLargeError
from hyperllama_nb.service.refusals import error_body, openai_error

T = TypeVar("T")
_MISSING: Any = object()

LEASE_HEADER = "X-HyperLlama-Lease"
PROGRESS_HEADER = "X-HyperLlama-Progress"

_decode = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(ensure_ascii=False).encode

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def now() -> str:
    """Return the time as Ollama writes it: RFC 3339, UTC, with a Z."""
    seconds, micros = divmod(time.time_ns() // 1000, 1_000_000)
    return f"{_second(seconds)}.{micros:06d}Z"


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    """Return a time without its fraction; kept, since each token has a time of its own."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class Body:
    """A request's JSON object; keys match without regard to case, null counts as absent."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = {key.lower(): value for key, value in values.items() if value is not None}

    @classmethod
    async def read(cls, request: web.Request) -> "Body":
        """Parse the request's body; bytes after the first JSON value are ignored, as Ollama does.

        Raises RequestError if there is no body, or it is not a JSON object, TooLargeError and
        SlowRequestError.
        """
        try:
            async with asyncio.timeout(limits.BODY_SECONDS):
                raw = await request.read()
        except TimeoutError:
            raise SlowRequestError(
                f"The request body did not arrive within {limits.BODY_SECONDS:.0f} s. Send it at "
                "once, or in smaller requests."
            ) from None
        except web.HTTPRequestEntityTooLarge:
            raise TooLargeError(
                f"The request body is larger than {MAX_BODY_BYTES >> 20} MiB. Shorten the prompt, "
                "or send smaller images."
            ) from None
        if not raw:
            raise RequestError("missing request body")
        if nested_too_deeply(raw):
            raise RequestError(
                f"The request body nests objects and arrays more than {MAX_NESTING} deep. Send it "
                "flatter."
            )
        try:
            value, _ = _decode(raw.decode().lstrip())
        except (ValueError, RecursionError) as error:
            raise RequestError(f"The request body is not JSON: {error}.") from error
        if _SURROGATE.search(raw):
            value = _text_alone(value)
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

    def names(self) -> Iterable[str]:
        """Return the names of the fields that are there, in lower case."""
        return self._values.keys()


def _text_alone(value: Any) -> Any:
    """Return the value with halves of surrogate pairs replaced: JSON can write them, text cannot.

    Go's decoder does the same.
    """
    written = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass")
    return json.loads(written.decode("utf-16", "replace"))


def _kind(value: Any) -> str:
    """Return JSON's word for the type of a value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    words: dict[type, str] = {str: "string", list: "array", dict: "object"}
    return words.get(type(value), "null")


class Stream(ABC, Generic[T]):
    """An answer in parts that begins with its first part: an early error has a real status."""

    kind: ClassVar[str]
    """The content type."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._response = web.StreamResponse(
            headers={
                "Content-Type": self.kind,
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )

    @property
    def started(self) -> bool:
        """Tell whether the status has been sent."""
        return self._response.prepared

    @abstractmethod
    def encode(self, part: T) -> bytes:
        """Return a part as it travels."""

    @abstractmethod
    def last_words(self, error: BaseException) -> bytes:
        """Return the end of an answer that fails in the middle."""

    async def write(self, part: T) -> None:
        """Send one part; waits while the client does not read."""
        await self._send(self.encode(part))

    async def send(self, parts: AsyncGenerator[T, None]) -> web.StreamResponse:
        """Send all parts; an error becomes a status before the first one, the last one after it.

        `parts` is closed at once when the client goes, which frees what it holds.
        """
        try:
            async with aclosing(parts):
                async for part in parts:
                    await self._send(self.encode(part))
        except ConnectionError:
            raise
        except Exception as error:
            if not self.started:
                raise
            await self._send(self.last_words(error))
        return await self.end()

    async def end(self) -> web.StreamResponse:
        """End the answer, of which at least one part has been written."""
        await self._response.write_eof()
        return self._response

    async def _send(self, data: bytes) -> None:
        if not self._response.prepared:
            await self._response.prepare(self._request)
        await self._response.write(data)


class Lines(Stream[Mapping[str, Any] | bytes]):
    """NDJSON: an object on each line; bytes are a line that comes ready for the wire."""

    kind = "application/x-ndjson"

    def encode(self, part: Mapping[str, Any] | bytes) -> bytes:
        """Return the object and a line end."""
        return part if isinstance(part, bytes) else _encode(part).encode() + b"\n"

    def last_words(self, error: BaseException) -> bytes:
        """Return a line with the error."""
        return self.encode(error_body(error))


class TextLine:
    r"""Makes the lines of tokens, which differ in nothing but their time and their text.

    `shape` returns the object of such a line for a time and a text, which go where it puts them.

    >>> make = TextLine(lambda time, text: {"created_at": time, "response": text, "done": False})
    >>> make("Hi")  # doctest: +ELLIPSIS
    b'{"created_at": "...Z", "response": "Hi", "done": false}\n'
    """

    def __init__(self, shape: Callable[[str, str], Mapping[str, Any]]) -> None:
        time, text = "\0time\0", "\0text\0"
        self._before, rest = _encode(shape(time, text)).split(encode_basestring(time))
        self._between, self._after = rest.split(encode_basestring(text))

    def __call__(self, text: str) -> bytes:
        """Return the line with this text, at this moment."""
        written = encode_basestring(text)
        return f'{self._before}"{now()}"{self._between}{written}{self._after}\n'.encode()


class Events(Stream[bytes]):
    """Server-sent events, which come ready for the wire: they are made once per token."""

    kind = "text/event-stream"

    def encode(self, part: bytes) -> bytes:
        """Return the events as they are."""
        return part

    def last_words(self, error: BaseException) -> bytes:
        """Return an event with the error; no `[DONE]` follows it."""
        return event(openai_error(error))


def event(content: Mapping[str, Any]) -> bytes:
    """Return an object as a server-sent event."""
    return b"data: " + _encode(content).encode() + b"\n\n"


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


def valued(text: str, value: float) -> dict[str, Any]:
    """Return a token's text and log-probability, as Ollama's and OpenAI's chats have them."""
    return {"token": text, "logprob": value, "bytes": list(text.encode())}
