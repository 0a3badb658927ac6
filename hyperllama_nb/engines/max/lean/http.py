"""The server's half of HTTP/1.1: one request on each connection, strict and bounded."""

import asyncio
from dataclasses import dataclass
from typing import Protocol, cast

from .errors import RefusedError

LONGEST_HEAD = 16 << 10
"""Bytes of a request's line and headers."""

LONGEST_BODY = 16 << 20
"""Bytes of a request's body."""

METHODS = frozenset({"GET", "POST"})


@dataclass(frozen=True)
class Head:
    """What a request wants, and the length of its body in bytes."""

    method: str
    path: str
    length: int


def parse(raw: bytes) -> Head:
    """Return the head that the bytes before the empty line are.

    Raises RefusedError for what is no HTTP/1, and for bodies without a length or over the limit.
    """
    first, *lines = raw.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or not parts[1].startswith("/"):
        raise RefusedError(400, "This is no HTTP/1.1 request.")
    method, path = parts[0], parts[1].partition("?")[0]
    if method not in METHODS:
        raise RefusedError(405, "The method is not allowed.")
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip() or name in fields:
            raise RefusedError(400, "A header is malformed or comes twice.")
        fields[name] = value.strip()
    if "transfer-encoding" in fields:
        raise RefusedError(411, "A body must have a Content-Length.")
    length = fields.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise RefusedError(400, "Content-Length is no number.")
    if len(length) > 12 or int(length) > LONGEST_BODY:
        raise RefusedError(413, f"The body is over {LONGEST_BODY} bytes.")
    return Head(method, path, int(length))


class Answering(Protocol):
    """Who answers requests."""

    def opened(self, connection: "Connection") -> None:
        """Take note of a new connection."""
        ...

    def answer(self, connection: "Connection", head: Head, body: bytes) -> None:
        """Answer a request, now or later."""
        ...

    def refuse(self, connection: "Connection", error: RefusedError) -> None:
        """Answer what is no request."""
        ...

    def closed(self, connection: "Connection") -> None:
        """Take note that a client has gone."""
        ...


class Connection(asyncio.Protocol):
    """One client's connection, which ends with the answer.

    A client that closes its side, even only for writing, has gone.
    """

    def __init__(self, server: Answering) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._raw = bytearray()
        self._head: Head | None = None
        self.asked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        # A cast, since other event loops' transports are no subclasses.
        self._transport = cast("asyncio.Transport", transport)
        self._server.opened(self)

    def data_received(self, data: bytes) -> None:
        """Collect the request; what follows it is dropped."""
        if self.asked:
            return
        self._raw += data
        try:
            if self._head is None:
                end = self._raw.find(b"\r\n\r\n")
                if end > LONGEST_HEAD or (end < 0 and len(self._raw) > LONGEST_HEAD):
                    raise RefusedError(431, "The request's head is too long.")
                if end < 0:
                    return
                self._head = parse(bytes(self._raw[:end]))
                del self._raw[: end + 4]
            if len(self._raw) < self._head.length:
                return
        except RefusedError as error:
            self.asked = True
            self._server.refuse(self, error)
            return
        self.asked = True
        body, self._raw = bytes(self._raw[: self._head.length]), bytearray()
        self._server.answer(self, self._head, body)

    def eof_received(self) -> bool:
        """Close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the server."""
        del exc
        self._transport = None
        self._server.closed(self)

    @property
    def open(self) -> bool:
        """Tell whether the client is still there."""
        return self._transport is not None and not self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send bytes; they are dropped if the client has gone."""
        if self._transport is not None:
            self._transport.write(data)

    def finish(self, data: bytes) -> None:
        """Send the last bytes and close."""
        if self._transport is not None:
            self._transport.write(data)
            self._transport.close()
