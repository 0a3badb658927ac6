"""Speaking to an engine: OpenAI's completions, by hand, since every token comes this way."""

import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from hyperllama_nb.engines import logprobs
from hyperllama_nb.engines.base import Task
from hyperllama_nb.engines.connection import Address, Connection
from hyperllama_nb.engines.embeddings import PROBE, embed
from hyperllama_nb.engines.events import Event
from hyperllama_nb.engines.http import Body, Head, read_head
from hyperllama_nb.engines.requestid import REQUEST_ID
from hyperllama_nb.engines.sampling import sampling
from hyperllama_nb.errors import (
    BusyError,
    EngineDiedError,
    EngineError,
    HyperLlamaError,
    PromptTooLongError,
    RequestError,
)

__all__ = ["Address", "Wire", "sampling"]

Reason = Literal["stop", "length"]

_REASONS: Mapping[str, Reason] = {"stop": "stop", "length": "length"}
_decode = json.JSONDecoder().raw_decode
_RESTART = "Run it again: the engine is started anew where it has ended."


class Wire:
    """The way to one engine, over its Unix socket or, as a fallback, over loopback.

    Each request has a connection of its own: closing it is the only way to cancel a generation.
    `dying` tells, after an answer that a dying engine may give too, whether the engine ends;
    `awake` keeps an engine that sleeps while it is idle awake for the time of a request.
    """

    def __init__(
        self,
        address: Address,
        dying: Callable[[], Awaitable[bool]] | None = None,
        awake: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self.address = address
        self._dying = dying
        self._awake = awake

    async def stream(
        self, ids: Sequence[int], params: Mapping[str, Any]
    ) -> AsyncGenerator[Event, None]:
        """Complete the token ids; yields pieces of text, then one event with the reason and counts.

        `params` are wire parameters as `sampling` makes them, and "model". Closing the generator
        closes the connection at once. Raises RequestError for what the engine refuses, BusyError
        if its queue is full, EngineDiedError if it is not there or the stream breaks off, and
        EngineError for the errors that it reports.
        """
        request = {
            **params,
            "prompt": list(ids),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        async with self._request("POST", "/v1/completions", json.dumps(request).encode()) as answer:
            connection, head = answer
            if head.status != 200:
                raise await self._refusal(connection, head)
            body = Body(head)
            last = Event()
            while not body.done:
                data = await connection.read()
                for line in _lines(body, data):
                    if not line.startswith(b"data:"):
                        continue
                    payload = line[5:].strip()
                    if payload == b"[DONE]":
                        yield _finished(last)
                        return
                    event = _note(_parse(payload), last)
                    if event is not None:
                        yield event
                if not data:
                    break
            if last.reason is None or not body.done:
                raise EngineDiedError(f"The engine broke off in the middle of it. {_RESTART}")
            yield _finished(last)

    async def ask(self, path: str, body: bytes) -> dict[str, Any]:
        """Return the object with which the engine answers a request as a whole.

        Raises what `stream` raises.
        """
        async with self._request("POST", path, body) as (connection, head):
            if head.status != 200:
                raise await self._refusal(connection, head)
            return _parse(await _whole(connection, head, strict=True))

    async def ready(self, model: str, task: Task = "generate") -> None:
        """Complete one token, or embed one, for real: the only proof that the model answers.

        Raises what `stream` raises.
        """
        if task == "embed":
            await embed(self, model, [PROBE])
            return
        params = {"model": model, "max_tokens": 1, "temperature": 0}
        async with contextlib.aclosing(self.stream([0], params)) as events:
            async for _ in events:
                pass

    async def health(self) -> bool:
        """Tell whether the engine's HTTP server answers; says nothing about its model."""
        return await self._health() == 200

    async def loading(self) -> bool:
        """Tell whether the engine itself says that its model is not there yet, as some do."""
        return await self._health() == 503

    async def _health(self) -> int | None:
        try:
            async with self._request("GET", "/health") as (_, head):
                return head.status
        except EngineDiedError:
            return None

    async def metrics(self) -> str:
        """Return the engine's metrics as Prometheus text.

        Raises EngineError if it has none, EngineDiedError if it does not answer.
        """
        # The one spelling is a redirection to the other for some, and nothing at all for others.
        for path in ("/metrics/", "/metrics"):
            async with self._request("GET", path) as (connection, head):
                if head.status == 200:
                    return (await _whole(connection, head)).decode(errors="replace")
                refusal = await self._refusal(connection, head)
        raise refusal

    @contextlib.asynccontextmanager
    async def _request(
        self, method: str, path: str, body: bytes = b""
    ) -> AsyncGenerator[tuple[Connection, Head], None]:
        """Send a request on a new connection, which ends with the block."""
        with self._awake():
            try:
                connection = await Connection.open(self.address)
            except OSError as error:
                raise EngineDiedError(
                    f"The engine does not answer ({error.strerror or error}). {_RESTART}"
                ) from error
            try:
                connection.write(
                    b"%b %b HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n"
                    b"X-Request-Id: %b\r\n"
                    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (method.encode(), path.encode(), REQUEST_ID.get().encode(), len(body), body)
                )
                try:
                    head = await read_head(connection)
                except (EOFError, ValueError) as error:
                    raise EngineDiedError(
                        f"The engine closed the connection before it answered. {_RESTART}"
                    ) from error
                yield connection, head
            finally:
                connection.cut()

    async def _refusal(self, connection: Connection, head: Head) -> HyperLlamaError:
        """Return the error that an answer other than 200 stands for."""
        message = _message(await _whole(connection, head))
        if head.status == 429:
            # An engine whose worker has died answers 429 for the seconds until it ends.
            if self._dying is not None and await self._dying():
                return EngineDiedError(f"The engine is ending. {_RESTART}")
            return BusyError("The engine's queue is full. Try again in a moment.")
        if head.status in (400, 413, 422):
            if message.startswith("Prompt is too long"):
                return PromptTooLongError(f"{message} A larger num_ctx holds more.")
            return RequestError(
                f"The engine refused the request: {message} Check the request's options."
            )
        return EngineError(
            f"The engine failed with status {head.status}: {message} "
            "Its log (`hyperllama logs MODEL`) has the cause."
        )


def _lines(body: Body, data: bytes) -> list[bytes]:
    try:
        return body.feed(data)
    except ValueError as error:
        raise EngineError(f"The engine's answer is not HTTP: {error}. {_RESTART}") from error


async def _whole(connection: Connection, head: Head, *, strict: bool = False) -> bytes:
    """Return the whole body of an answer, or as much of it as arrives.

    `strict` raises EngineDiedError where that is not all of it.
    """
    body = Body(head)
    lines: list[bytes] = []
    while not body.done:
        data = await connection.read()
        lines += _lines(body, data)
        if not data:
            break
    if strict and not body.done:
        raise EngineDiedError(f"The engine broke off in the middle of it. {_RESTART}")
    return b"\n".join([*lines, body.rest])


def _parse(payload: bytes) -> dict[str, Any]:
    """Return the object of one frame; raises EngineError for anything else, and for errors."""
    try:
        # Not `loads`, which looks for other encodings first, once for each token.
        text = payload.decode().strip()
        frame, end = _decode(text)
        whole = end == len(text)
    except ValueError:
        frame, whole = None, False
    if not isinstance(frame, dict) or not whole:
        raise EngineError(f"The engine sent what is no JSON object: {payload[:80]!r}. {_RESTART}")
    if frame.get("error"):
        raise EngineError(f"The engine failed while answering: {_message(payload)} {_RESTART}")
    return frame


def _note(frame: dict[str, Any], last: Event) -> Event | None:
    """Return the frame's piece, None if it has none, and note its reason and counts in `last`."""
    usage = frame.get("usage")
    if usage:
        last.prompt_tokens = usage.get("prompt_tokens")
        last.output_tokens = usage.get("completion_tokens")
        last.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    choices = frame.get("choices")
    if not choices:
        return None
    choice = choices[0]
    reason = choice.get("finish_reason")
    if reason:
        last.reason = _REASONS.get(reason, "stop")
    text = choice.get("text") or ""
    return Event(text, logprobs=logprobs.read(choice.get("logprobs"), text))


def _finished(last: Event) -> Event:
    """Return the last event; an engine that gave no reason has come to its own end."""
    last.reason = last.reason or "stop"
    return last


def _message(body: bytes) -> str:
    """Return the sentence in an error's body: OpenAI's envelope, a `detail`, or plain text."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if isinstance(found, dict):
        found = found.get("error") or found.get("detail") or found
        if isinstance(found, dict):
            found = found.get("message") or found
    text = str(found) if found else body[:500].decode(errors="replace").strip()
    text = text or "no reason given"
    return text if text.endswith((".", "!", "?")) else f"{text}."
