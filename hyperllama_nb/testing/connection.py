"""A server's side of HTTP/1.1, as much as FakeEngine needs."""

import asyncio
from dataclasses import dataclass


class DiedError(Exception):
    """The script lets the engine die here."""


@dataclass
class Connection:
    """A client's connection, which may carry several requests."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    split: int
    ahead: bytes = b""

    async def read(self) -> tuple[str, str, bytes]:
        """Return method, path and body of the next request; raises at the connection's end."""
        head = self.ahead + await self.reader.readuntil(b"\r\n\r\n")
        self.ahead = b""
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {k.strip().lower(): v.strip() for k, _, v in (x.partition(":") for x in lines)}
        return method, path, await self.reader.readexactly(int(headers.get("content-length", "0")))

    async def write(self, data: bytes) -> None:
        """Write in pieces of `split` bytes."""
        step = self.split or len(data) or 1
        for start in range(0, len(data), step):
            self.writer.write(data[start : start + step])
            await self.writer.drain()
            if self.split:
                await asyncio.sleep(0.0005)  # or the kernel would join the pieces

    async def respond(
        self, status: int, body: bytes, kind: str = "application/json", **headers: str
    ) -> None:
        """Write a whole response."""
        extra = "".join(f"{key.replace('_', '-')}: {value}\r\n" for key, value in headers.items())
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
        await self.write(f"{head}{extra}\r\n".encode() + body)

    async def frame(self, text: str) -> None:
        """Write one event of a chunked event stream."""
        data = f"data: {text}\n\n".encode()
        await self.write(b"%x\r\n%s\r\n" % (len(data), data))

    async def gone(self) -> None:
        """Return when the client has closed the connection."""
        data = await self.reader.read(1)
        if data:
            self.ahead = data
            await asyncio.Event().wait()
