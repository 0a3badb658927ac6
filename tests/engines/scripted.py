"""Engines that answer each connection with the same bytes, for tests of the wire."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from hyperllama_nb.engines.events import Event
from hyperllama_nb.engines.openai import Wire

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def frame(text="", reason=None, **more):
    choice = {"index": 0, "text": text, "finish_reason": reason, "logprobs": None}
    body = {"id": "1_0", "choices": [choice], "usage": None, **more}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def usage(prompt, output, cached=0):
    counts = {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    return b"data: " + json.dumps({"choices": [], "usage": counts}).encode() + b"\n\n"


def chunked(*parts, end=True):
    coded = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return STREAM + coded + (b"0\r\n\r\n" if end else b"")


def plain(status, body, kind="application/json"):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content


class Engine:
    """What a scripted engine has seen."""

    def __init__(self):
        self.requests: list[tuple[str, dict]] = []
        self.asked = asyncio.Event()
        self.cut = asyncio.Event()


@asynccontextmanager
async def engine(path: Path, pieces: Sequence[bytes], *, hold=False) -> AsyncIterator[Engine]:
    """Answer with the pieces, one write each; with `hold` the connection then stays open."""
    seen = Engine()

    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        seen.requests.append((head.decode().splitlines()[0], json.loads(body or b"null")))
        seen.asked.set()
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if hold:
            assert await reader.read() == b""
            seen.cut.set()
        writer.close()

    server = await asyncio.start_unix_server(answer, path)
    async with server:
        yield seen


def collect(path: Path, *pieces: bytes, **params) -> list[Event]:
    """Return the events of one stream."""

    async def run():
        async with engine(path, pieces):
            return [event async for event in Wire(path).stream([1, 2], {"model": "m", **params})]

    return asyncio.run(asyncio.wait_for(run(), 30))
