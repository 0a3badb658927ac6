"""A FakeEngine on a loopback port, behind a tap that notes when each token passed."""

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hyperllama_nb.testing import FakeEngine, Script

TEXT = re.compile(rb'"text":"(?!")')
"""The beginning of a text that is not empty, in a chunk of a completion."""

ONCE = 1 << 16
"""Bytes that are passed on at a time; a frame of the script has a few hundred."""


@dataclass
class Passage:
    """One request as it went by: seconds of one monotonic clock.

    `asked` is when its first bytes came, `texts` when each chunk with text was passed on; the
    script sends one token in a chunk.
    """

    asked: float
    texts: list[float] = field(default_factory=list)

    @property
    def first(self) -> float:
        """Return the time to the first token."""
        return self.texts[0] - self.asked

    @property
    def each(self) -> float:
        """Return the time per output token, as between the first and the last one."""
        return (self.texts[-1] - self.texts[0]) / (len(self.texts) - 1)

    @property
    def whole(self) -> float:
        """Return the time per output token with the wait for the first one in it."""
        return (self.texts[-1] - self.asked) / len(self.texts)


class Tap:
    """Passes bytes on between a loopback port and a Unix socket, and notes in `passages` what.

    What passes before it has noted a request, or after it has noted a text, is in a client's
    numbers and not in its own: the connection, the network, the client's work, the tap's reading.
    """

    def __init__(self, behind: Path) -> None:
        self.passages: list[Passage] = []
        self._behind = behind

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, which may carry several requests, one after the other."""
        answers, questions = await asyncio.open_unix_connection(self._behind)
        passages: list[Passage] = []

        async def up() -> None:
            while data := await reader.read(ONCE):
                if data.startswith(b"POST "):
                    passages.append(Passage(time.perf_counter()))
                    self.passages.append(passages[-1])
                questions.write(data)

        async def down() -> None:
            while data := await answers.read(ONCE):
                if passages:
                    now = time.perf_counter()
                    passages[-1].texts += [now] * len(TEXT.findall(data))
                writer.write(data)

        ways = [asyncio.create_task(way()) for way in (up, down)]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in ways:
                task.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            questions.close()
            writer.close()


@contextmanager
def tapped_engine(script: Script, model: str) -> Iterator[tuple[str, Tap]]:
    """Run a FakeEngine for the duration of the block, in a thread of its own.

    Gives the URL of the tap before it, and the tap.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="wiretap")
    thread.start()

    async def start() -> tuple[FakeEngine, Tap, asyncio.Server]:
        engine = FakeEngine(script, model=model)
        await engine.start()
        assert engine.socket is not None
        tap = Tap(engine.socket)
        return engine, tap, await asyncio.start_server(tap.accept, "127.0.0.1", 0)

    async def stop() -> None:
        server.close()
        await engine.stop()

    try:
        engine, tap, server = asyncio.run_coroutine_threadsafe(start(), loop).result()
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", tap
        finally:
            asyncio.run_coroutine_threadsafe(stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
