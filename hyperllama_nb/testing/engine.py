"""FakeEngine: OpenAI completions and embeddings by a script, in MAX's dialect."""

import asyncio
import contextlib
import json
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from hyperllama_nb.testing.answer import Answer, Request
from hyperllama_nb.testing.connection import Connection, DiedError
from hyperllama_nb.testing.embeddings import Embeddings
from hyperllama_nb.testing.script import Script

FIELDS = frozenset(
    {
        *("model", "prompt", "stream", "stream_options", "max_tokens", "min_tokens"),
        *("temperature", "top_p", "top_k", "min_p", "seed", "stop", "stop_token_ids"),
        *("repetition_penalty", "presence_penalty", "frequency_penalty", "ignore_eos"),
        *("logprobs", "echo", "n", "best_of", "user", "cache_salt", "return_token_ids"),
    }
)
"""What a request may contain: MAX refuses a body with anything else."""

EMBEDDING_FIELDS = frozenset({"model", "input", "encoding_format", "dimensions", "user"})

HEAD_LIMIT = 64 << 10

PAGES = 8
"""Pages of the cache that it says to have; each request that runs takes one."""


@dataclass
class FakeEngine:
    """An engine without a model, on a Unix socket, for tests.

    >>> async def main():
    ...     async with FakeEngine(Script(pieces=["Hi", "!"], delay=0.01)) as engine:
    ...         print(engine.socket, engine.requests)

    Speaks `/v1/completions` (streaming or not), `/v1/embeddings`, `/v1/models`, `/health`,
    `/version`, `/metrics/` as MAX does, its refusals included, and records what was asked in
    `requests`. The script may be replaced between requests.
    """

    script: Script = field(default_factory=Script)
    socket: Path | None = None
    model: str = "tiny"
    requests: list[Request] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _own: Path | None = None
    _slots: asyncio.Semaphore | None = None
    died: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Listen on the socket, a temporary one if none was given."""
        if self.socket is None:
            self._own = Path(tempfile.mkdtemp(prefix="fake-"))
            self.socket = self._own / "engine.sock"
        if self.script.slots:
            self._slots = asyncio.Semaphore(self.script.slots)
        await asyncio.sleep(self.script.startup)
        self._server = await asyncio.start_unix_server(self._accept, self.socket, limit=HEAD_LIMIT)

    async def stop(self) -> None:
        """Break all connections and remove the socket."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.socket is not None:
            self.socket.unlink(missing_ok=True)
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        connection = Connection(reader, writer, self.script.split)
        try:
            while True:
                await self._answer(connection, *await connection.read())
        except DiedError:
            writer.transport.abort()
            self.died.set()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, connection: Connection, method: str, path: str, body: bytes) -> None:
        plain = "text/plain; charset=utf-8"
        match method, path.rstrip("/"):
            case "GET", "/health" | "/v1/health":
                await connection.respond(200, b"", plain)
            case "GET", "/version":
                await connection.respond(200, b'{"version":"26.7.0"}')
            case "GET", "/v1/models":
                model = {"id": self.model, "object": "model", "created": int(time.time())}
                answer = {"object": "list", "data": [{**model, "owned_by": ""}]}
                await connection.respond(200, json.dumps(answer).encode())
            case "GET", "/metrics":
                await connection.respond(200, self._metrics().encode(), plain)
            case "GET", "/requests":
                asked = [asdict(request) for request in self.requests]
                await connection.respond(200, json.dumps(asked).encode())
            case "POST", "/v1/completions":
                await self._complete(connection, body, Answer, FIELDS)
            case "POST", "/v1/embeddings":
                await self._complete(connection, body, Embeddings, EMBEDDING_FIELDS)
            case _:
                await connection.respond(404, b'{"detail":"Not Found"}')

    def _metrics(self) -> str:
        running = sum(not (r.done or r.cancelled_at is not None) for r in self.requests)
        tokens = sum(request.sent for request in self.requests)
        return (
            f"maxserve_num_requests_running {running}.0\n"
            "maxserve_num_requests_queued 0.0\n"
            f"maxserve_num_output_tokens_total {tokens}.0\n"
            f"maxserve_cache_num_used_blocks {running}.0\n"
            f"maxserve_cache_num_total_blocks {PAGES}.0\n"
            # one step for each token, of one sequence
            f'maxserve_batch_size_sum{{batch_type="TG"}} {tokens}.0\n'
            f'maxserve_batch_size_count{{batch_type="TG"}} {tokens}.0\n'
        )

    def _refusal(self, params: Any, fields: frozenset[str]) -> tuple[int, str] | None:
        """Return the status and message with which MAX would refuse a body, or the script does."""
        if not isinstance(params, dict) or not params:
            return 400, "Missing JSON."
        if extra := params.keys() - fields:
            return 400, f"Extra inputs are not permitted: {', '.join(sorted(extra))}"
        if params.get("model") not in ("", None, self.model):
            return 400, "Value error."
        if not 0 <= params.get("temperature", 1) <= 2 or not 0 <= params.get("top_p", 1) <= 1:
            return 400, "Value error."
        if params.get("echo") and params.get("logprobs"):
            raise DiedError
        if not self.script.ready:
            return 503, "Not ready."
        if self.script.status >= 400 and len(self.requests) >= self.script.warmup:
            return self.script.status, self.script.error
        return None

    async def _complete(
        self,
        connection: Connection,
        body: bytes,
        kind: type[Answer] | type[Embeddings],
        fields: frozenset[str],
    ) -> None:
        try:
            params = json.loads(body)
        except ValueError:
            params = None
        if refusal := self._refusal(params, fields):
            status, message = refusal
            error = {"code": str(status), "message": message, "param": "", "type": ""}
            headers = {"retry_after": "1"} if status == 429 else {}
            await connection.respond(status, json.dumps({"error": error}).encode(), **headers)
            return
        script = self.script
        if len(self.requests) < script.warmup:
            script = Script(pieces=script.pieces[:1] or ("",), width=script.width)
        request = Request(params.pop(kind.asked, ""), params)
        self.requests.append(request)
        work = asyncio.ensure_future(self._run(kind(connection, request, script, self.model)))
        gone = asyncio.ensure_future(connection.gone())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # A client that closes is seen by whoever comes first, the reader or the writer.
            if not work.done() or isinstance(_error_of(work), ConnectionError):
                request.cancelled_at = request.sent
            for task in (work, gone):
                task.cancel()
            results = await asyncio.gather(work, gone, return_exceptions=True)
        if gone.done() and not gone.cancelled():
            raise ConnectionResetError
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _run(self, answer: Answer | Embeddings) -> None:
        async with self._slots or contextlib.nullcontext():
            await answer.send()
        answer.request.done = True


def _error_of(task: asyncio.Future[None]) -> BaseException | None:
    return None if task.cancelled() else task.exception()
