"""A connection to an engine: bytes out, and bytes in as they arrive."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Self, cast

Address = Path | tuple[str, int]

MOST_AHEAD = 1 << 16
"""Bytes that may have arrived and not been read before the engine is made to wait."""


class Connection(asyncio.Protocol):
    """What asyncio's StreamReader and StreamWriter do, for one reader, at half their price.

    The price counts, since each token of each stream comes through here.
    """

    def __init__(self) -> None:
        self._arrived = b""
        self._ended = self._paused = False
        self._waiting: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport

    @classmethod
    async def open(cls, address: Address) -> Self:
        """Connect to a Unix socket, or to a host and port; raises OSError."""
        loop = asyncio.get_running_loop()
        make: Callable[[], Self] = cls
        if isinstance(address, Path):
            _, connection = await loop.create_unix_connection(make, str(address))
        else:
            _, connection = await loop.create_connection(make, *address)
        return connection

    def write(self, data: bytes) -> None:
        """Send bytes, without waiting until the engine takes them."""
        self._transport.write(data)

    async def read(self) -> bytes:
        """Return what has arrived, at least one byte; empty at the end, however it came about."""
        while not self._arrived and not self._ended:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        data, self._arrived = self._arrived, b""
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return data

    def unread(self, data: bytes) -> None:
        """Put bytes back that the next `read` is to return."""
        self._arrived = data + self._arrived

    def cut(self) -> None:
        """Close the connection now, also where a forked child still holds a copy of it."""
        found = self._transport.get_extra_info("socket")
        if found is not None:
            with contextlib.suppress(OSError):
                found.shutdown(2)
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Keep what has arrived for the reader."""
        self._arrived = self._arrived + data if self._arrived else data
        if len(self._arrived) > MOST_AHEAD and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """End the reading."""
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the reading."""
        del exc
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
