"""One request to the service and its answer, by hand: every token of the door comes this way."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Self

from tornado.httputil import HTTPHeaders, HTTPInputError, parse_response_start_line

_READ = 64 << 10
"""Bytes read at once, and the longest head of an answer."""


class BrokenError(ConnectionError):
    """The service's end of the connection is gone before the answer is whole."""


@dataclass(frozen=True, slots=True)
class Head:
    """The status line and the headers of an answer."""

    status: int
    reason: str
    headers: HTTPHeaders


class Exchange:
    """A request and its answer on a connection of their own: closing it cancels the work.

    Call `begin`, `send` for each piece of the body, `end`, `head`, then read `pieces`.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._bodiless = self._chunked = False
        self.deaf = False
        """Whether the service reads no more: it has answered before the body's end, or died."""

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Connect to the service's socket; raises OSError."""
        return cls(*await asyncio.open_unix_connection(path, limit=_READ))

    def begin(self, method: str, target: str, headers: Iterable[tuple[str, str]]) -> None:
        """Send the head of the request; a `Transfer-Encoding` among the headers has it chunked."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
        for name, value in headers:
            lines.append(f"{name}: {value}")
            self._chunked = self._chunked or name.lower() == "transfer-encoding"
        self._bodiless = method == "HEAD"
        self._writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def send(self, data: bytes) -> None:
        """Send a piece of the body; waits while the service does not read."""
        await self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def end(self) -> None:
        """Tell that the request is whole."""
        await self._send(b"0\r\n\r\n" if self._chunked else b"")

    async def head(self) -> Head:
        """Wait for the head of the answer; raises BrokenError."""
        while True:
            try:
                raw = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, _, rest = raw.partition("\r\n")
                line = parse_response_start_line(first)
                headers = HTTPHeaders.parse(rest)
            except (EOFError, OSError, asyncio.LimitOverrunError, HTTPInputError) as error:
                raise BrokenError(str(error)) from error
            if line.code >= HTTPStatus.OK:
                self._head = Head(line.code, line.reason, headers)
                return self._head

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the answer's body as it arrives; raises BrokenError if it does not end."""
        content = _Content(self._head, empty=self._bodiless)
        while not content.done:
            try:
                data = await self._reader.read(_READ)
                piece = content.feed(data)
            except (OSError, ValueError) as error:
                raise BrokenError(str(error)) from error
            if piece:
                yield piece
            if not data and not content.done:
                raise BrokenError("the answer was cut off")

    def close(self) -> None:
        """End the connection at once, whatever is under way on it."""
        self._writer.transport.abort()

    async def _send(self, data: bytes) -> None:
        if not self.deaf:
            self._writer.write(data)
            try:
                await self._writer.drain()
            except ConnectionError:
                self.deaf = True


class _Content:
    """Takes a body out of its framing, in whatever pieces it arrives."""

    def __init__(self, head: Head, *, empty: bool) -> None:
        length = head.headers.get("Content-Length")
        self._chunked = "chunked" in head.headers.get("Transfer-Encoding", "").lower()
        self._left = int(length) if length is not None and not self._chunked else None
        self._raw = bytearray()
        self._begun = False
        none = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
        self.done = empty or head.status in none or self._left == 0

    def feed(self, data: bytes) -> bytes:
        """Return the content in the bytes (none: the connection has ended).

        Raises ValueError if they are not framed as the head says.
        """
        if self._chunked:
            return self._dechunk(data)
        if self._left is None:
            self.done = not data
        else:
            self._left -= len(data)
            self.done = self._left <= 0
        return data

    def _dechunk(self, data: bytes) -> bytes:
        """Return the content of the chunks, the incomplete one too: `_left` bytes of it lack."""
        raw, content, at = self._raw, bytearray(), 0
        raw += data
        while True:
            if self._left:
                piece = raw[at : at + self._left]
                content += piece
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
            # The line end after a chunk is read with the size of the next one.
            start = at + 2 if self._begun else at
            end = raw.find(b"\r\n", start)
            if end < 0:
                break
            self._left = int(bytes(raw[start:end]).partition(b";")[0], 16)
            self._begun = True
            at = end + 2
            if self._left <= 0:
                self.done = True
                break
        del raw[:at]
        return bytes(content)
