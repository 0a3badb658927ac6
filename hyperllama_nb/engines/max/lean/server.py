"""The engine's HTTP server: completions, health, metrics, on one Unix socket."""

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import frames, request
from .answer import COMPLETIONS, Answer
from .errors import RefusedError
from .frames import Frames
from .generation import Generation
from .grammar import Grammars
from .http import Connection, Head
from .metrics import Metrics
from .scheduler import Scheduler
from .text import Vocabulary

BACKLOG = 128

PATIENCE = 3.0
"""Seconds that a stop waits for the last bytes to leave."""


@dataclass(frozen=True)
class Engine:
    """What the server needs once the model is there; `vocab` counts logits, `context` tokens."""

    vocabulary: Vocabulary
    scheduler: Scheduler
    grammars: Grammars
    vocab: int
    context: int


class Server:
    """Answers requests; every step of the model runs between two turns of the event loop."""

    def __init__(self, name: str, metrics: Metrics) -> None:
        self.name = name
        self.metrics = metrics
        self._engine: Engine | None = None
        self._answers: dict[Connection, tuple[Answer, Generation | None]] = {}
        self._silent: set[Connection] = set()
        self._work = asyncio.Event()
        self._quiet = asyncio.Event()
        self._count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._routes: dict[str, tuple[str, Callable[[Connection, bytes], None]]] = {
            COMPLETIONS: ("POST", self._complete),
            "/health": ("GET", self._health),
            "/metrics": ("GET", self._metrics),
            "/metrics/": ("GET", self._metrics),
            "/v1/models": ("GET", self._models),
        }

    async def listen(self, path: Path) -> asyncio.AbstractServer:
        """Begin to answer on a Unix socket, which has the mode 0600 from its beginning."""
        listener = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        loop = asyncio.get_running_loop()
        return await loop.create_unix_server(
            lambda: Connection(self), sock=listener, backlog=BACKLOG
        )

    async def run(self, engine: Engine) -> None:
        """Answer completions from now on; raises what the model raises when it can no longer."""
        self._engine = engine
        scheduler = engine.scheduler
        while True:
            if not scheduler.busy:
                self._work.clear()
                await self._work.wait()
            scheduler.step()
            await asyncio.sleep(0)
            if self._silent:
                # Accepting a connection and reading its request take a few turns of the loop.
                for _ in range(3):
                    await asyncio.sleep(0)

    async def close(self) -> None:
        """End all answers, and wait a moment until what is left of them has been sent."""
        for answer, generation in list(self._answers.values()):
            if generation is None or not generation.over:
                answer.fail(503, "The engine is ending.")
                if generation is not None and self._engine is not None:
                    self._engine.scheduler.cancel(generation)
        for task in list(self._tasks):
            task.cancel()
        if self._answers:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._quiet.wait(), PATIENCE)

    def opened(self, connection: Connection) -> None:
        """Take note of a new connection."""
        self._silent.add(connection)

    def closed(self, connection: Connection) -> None:
        """End what a client has left."""
        self._silent.discard(connection)
        answer, generation = self._answers.pop(connection, (None, None))
        if not self._answers:
            self._quiet.set()
        if self._engine is None or answer is None:
            return
        if generation is not None and not generation.over:
            self._engine.scheduler.cancel(generation)
            self.metrics.answered(499, COMPLETIONS, answer.arrived)

    def refuse(self, connection: Connection, error: RefusedError) -> None:
        """Answer with an error."""
        self._silent.discard(connection)
        self.metrics.answered(error.status, "", time.monotonic())
        connection.finish(frames.whole(error.status, frames.envelope(error.status, error.message)))

    def answer(self, connection: Connection, head: Head, body: bytes) -> None:
        """Answer a request, a completion piece by piece."""
        self._silent.discard(connection)
        route = self._routes.get(head.path)
        try:
            if route is None:
                raise RefusedError(404, "Not Found")
            method, answer = route
            if head.method != method:
                raise RefusedError(405, "The method is not allowed.")
            answer(connection, body)
        except RefusedError as error:
            self.refuse(connection, error)

    def _health(self, connection: Connection, body: bytes) -> None:
        del body
        connection.finish(frames.whole(200 if self._engine else 503, b""))

    def _metrics(self, connection: Connection, body: bytes) -> None:
        del body
        if self._engine is not None:
            self._engine.scheduler.measure()
        kind = b"text/plain; version=0.0.4; charset=utf-8"
        connection.finish(frames.whole(200, self.metrics.text().encode(), kind))

    def _models(self, connection: Connection, body: bytes) -> None:
        del body
        model = {"id": self.name, "object": "model", "created": 0, "owned_by": ""}
        if self._engine is not None:
            model["max_model_len"] = self._engine.context
        found = {"object": "list", "data": [model]}
        connection.finish(frames.whole(200, json.dumps(found).encode()))

    def _complete(self, connection: Connection, body: bytes) -> None:
        engine = self._engine
        if engine is None:
            raise RefusedError(503, "The model is being loaded.")
        engine.scheduler.admit(len(self._tasks))
        wanted = request.read(
            _parse(body),
            model=self.name,
            vocab=engine.vocab,
            context=engine.context,
            encode=engine.vocabulary.encode,
        )
        self._count += 1
        name = f"cmpl-{self._count}"
        answer = Answer(connection, wanted, Frames(name, self.name), self.metrics)
        if wanted.schema is None:
            self._submit(engine, connection, answer, Generation(wanted, answer, engine.vocabulary))
            return
        self._answers[connection] = (answer, None)
        task = asyncio.get_running_loop().create_task(
            self._constrained(engine, connection, answer, wanted)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _submit(
        self, engine: Engine, connection: Connection, answer: Answer, generation: Generation
    ) -> None:
        engine.scheduler.submit(generation)
        self._answers[connection] = (answer, generation)
        self._work.set()

    async def _constrained(
        self, engine: Engine, connection: Connection, answer: Answer, wanted: request.Request
    ) -> None:
        """Submit a request once its grammar is there; others do not wait for that."""
        try:
            assert wanted.schema is not None
            grammar = await asyncio.to_thread(engine.grammars.make, wanted.schema, engine.vocab)
            if connection in self._answers:
                generation = Generation(wanted, answer, engine.vocabulary, grammar)
                self._submit(engine, connection, answer, generation)
        except RefusedError as error:
            answer.fail(error.status, error.message)


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(400, "Missing JSON.") from None
