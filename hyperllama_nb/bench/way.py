"""The way to a target: its address, what every request to it begins with, and a connection."""

import asyncio
import json
import os
import time
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from hyperllama_nb.bench.records import Target
from hyperllama_nb.engines.connection import Connection
from hyperllama_nb.errors import RequestError

KEY = "HYPERLLAMA_BENCH_API_KEY"
"""The variable with the key that targets are sent; it is in no plan and no record."""

HEADERS = "HYPERLLAMA_BENCH_SERVICE_HEADERS"
"""The variable with what a client sends to the service, which no other target may learn; JSON."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where to connect, and the head of every request but its length."""

    host: str
    port: int | None
    tls: bool
    head: bytes

    @classmethod
    def to(cls, target: Target) -> Self:
        """Return the way to a target; raises RequestError for a URL that is none."""
        path = "/v1/completions" if target.kind == "openai" else "/api/generate"
        if target.url.startswith("unix:"):
            socket = target.url.removeprefix("unix:").removeprefix("//")
            return cls(socket, None, False, _head(target, path, ""))
        try:
            parts = urlsplit(target.url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RequestError(
                f"{target.url!r} is no address of a server. "
                "Write http://HOST:PORT, https://HOST or unix:/PATH/OF/SOCKET."
            )
        base = parts.path.rstrip("/")
        if target.kind == "openai":
            base = base.removesuffix("/v1")
        tls = parts.scheme == "https"
        port = port or (443 if tls else 80)
        return cls(
            parts.hostname, port, tls, _head(target, base + path, parts.netloc.split("@")[-1])
        )

    async def open(self) -> "Timed":
        """Connect; raises OSError."""
        loop = asyncio.get_running_loop()
        if self.port is None:
            _, connection = await loop.create_unix_connection(Timed, self.host)
        else:
            _, connection = await loop.create_connection(
                Timed, self.host, self.port, ssl=self.tls or None
            )
        return connection


class Timed(Connection):
    """A connection that knows when the bytes arrived which wait to be read."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = 0.0

    def data_received(self, data: bytes) -> None:
        """Note the time before anything else is done with the bytes."""
        self.arrived = time.perf_counter()
        super().data_received(data)


def _head(target: Target, path: str, host: str) -> bytes:
    if target.kind == "service":
        own = json.loads(os.environ.get(HEADERS) or "{}")
    else:
        key = os.environ.get(KEY)
        own = {"Authorization": f"Bearer {key}"} if key else {}
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host or 'localhost'}",
        "Connection: close",
        "Content-Type: application/json",
        *(f"{name}: {value}" for name, value in own.items()),
    ]
    return ("\r\n".join(lines) + "\r\n").encode()
