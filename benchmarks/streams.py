"""Streams for measurements, by hand: a client that costs little, the same for each way in."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hyperllama_nb.engines.connection import Address, Connection
from hyperllama_nb.engines.http import Body, read_head


@dataclass(frozen=True)
class Way:
    """A way in: where to connect, which path to ask, and the headers beside the usual ones."""

    name: str
    address: Address
    path: str
    headers: tuple[str, ...] = ()


@dataclass
class Run:
    """One answer: seconds from the request to its first text, the times of text, its tokens."""

    first: float = 0.0
    times: list[float] = field(default_factory=list)
    tokens: int = 0

    @property
    def rate(self) -> float:
        """Return tokens a second from the first on."""
        return rate_of([self])


def rate_of(runs: Sequence[Run]) -> float:
    """Return the tokens a second of streams that ran together, from the first token of all on."""
    begun = min(run.times[0] for run in runs)
    ended = max(run.times[-1] for run in runs)
    return (sum(run.tokens for run in runs) - 1) / (ended - begun)


def service_way(socket: Path) -> Way:
    """Return the way through the service's own socket."""
    return Way("service", socket, "/api/generate")


def door_way(url: str, token: str) -> Way:
    """Return the way through a Jupyter server."""
    parts = urlsplit(url)
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    return Way("door", address, f"{parts.path}/api/generate", (f"Authorization: Bearer {token}",))


def engine_way(socket: Path) -> Way:
    """Return the way to an engine's socket, past the service."""
    return Way("engine", socket, "/v1/completions")


async def ask(way: Way, body: dict[str, Any], heard: Callable[[], None] = lambda: None) -> Run:
    """Send a request on a new connection and read its stream; `heard` is called for each text.

    Raises RuntimeError for a status other than 200.
    """
    data = json.dumps(body).encode()
    lines = [
        f"POST {way.path} HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
        *way.headers,
    ]
    run = Run()
    sent = time.perf_counter()
    connection = await Connection.open(way.address)
    try:
        connection.write("\r\n".join([*lines, "", ""]).encode() + data)
        head = await read_head(connection)
        content = Body(head)
        while not content.done:
            data = await connection.read()
            for line in content.feed(data):
                if _note(run, line.removeprefix(b"data: ")):
                    heard()
            if not data:
                break
        if head.status != 200:
            raise RuntimeError(f"{way.name}: status {head.status}: {content.rest.decode()}")
    finally:
        connection.cut()
    run.first = run.times[0] - sent
    return run


def _note(run: Run, line: bytes) -> bool:
    """Take a line of either kind of stream; tell whether it has text."""
    if not line.startswith(b"{"):
        return False
    part = json.loads(line)
    text = part.get("response") or (part.get("choices") or [{}])[0].get("text")
    if text:
        run.times.append(time.perf_counter())
    usage = part.get("usage") or {}
    run.tokens = part.get("eval_count") or usage.get("completion_tokens") or run.tokens
    return bool(text)


async def together(way: Way, bodies: Sequence[dict[str, Any]]) -> list[Run]:
    """Send several requests at once, and return when all are answered."""
    return await asyncio.gather(*(ask(way, body) for body in bodies))
