"""One completion of a FakeEngine: the script's pieces as MAX would send them."""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from hyperllama_nb.testing.connection import Connection, DiedError
from hyperllama_nb.testing.script import Script

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-store\r\nx-accel-buffering: no\r\ntransfer-encoding: chunked\r\n\r\n"
)

SKELETON: dict[str, list[Any]] = {
    "text_offset": [],
    "token_logprobs": [],
    "tokens": [],
    "top_logprobs": [],
}
"""The log-probabilities that MAX puts into each chunk, asked or not."""


@dataclass
class Request:
    """One completion, or one list of embeddings, that was asked for.

    `prompt` is what it was asked with: of embeddings the whole list, each a text or its token
    ids. `sent` is how many tokens have been written, or texts embedded; `cancelled_at` is
    `sent` at the moment when the client closed the connection before the end, else None.
    """

    prompt: list[Any] | str
    params: dict[str, Any]
    sent: int = 0
    cancelled_at: int | None = None
    done: bool = False


@dataclass
class Answer:
    """The answer to one request, written to its connection."""

    asked: ClassVar[str] = "prompt"
    connection: Connection
    request: Request
    script: Script
    model: str

    async def send(self) -> None:
        """Write the answer, as a stream if the request wants one."""
        if self.request.params.get("stream"):
            await self._stream()
        else:
            await self._whole()

    def _tokens(self) -> Iterator[tuple[str, str | None]]:
        """Yield each piece, the last one with the reason why it is the last.

        With `ignore_eos` the pieces come anew until a stop string or `max_tokens` ends them.
        """
        params = self.request.params
        stop = params.get("stop") or []
        stops = [stop] if isinstance(stop, str) else stop
        often = () if params.get("ignore_eos") else (self.script.repeat,)
        pieces = itertools.chain.from_iterable(itertools.repeat(self.script.pieces, *often))
        text = ""
        piece: str | None = next(pieces, "")
        for count in itertools.count(1):
            current, piece = piece or "", next(pieces, None)
            text += current
            if any(string in text for string in stops):
                yield current, "stop"
            elif piece is None:
                yield current, self.script.reason
            elif count >= params.get("max_tokens", float("inf")):
                yield current, "length"
            else:
                yield current, None
                continue
            return

    async def _pause(self, index: int) -> None:
        """Wait, break or stall as the script says before the piece of this index."""
        if index == self.script.die_after:
            raise DiedError
        if index == self.script.stall_after:
            await asyncio.Event().wait()
        await asyncio.sleep(self.script.delay if index else self.script.delay_first)

    async def _stream(self) -> None:
        held: list[str] = []
        begun = False
        index = 0
        for piece, reason in self._tokens():
            if index == self.script.error_after:
                await self._begin(begun)
                error = {"code": "500", "message": self.script.error, "param": "", "type": ""}
                await self.connection.frame(json.dumps({"error": error}))
                await self.connection.write(b"0\r\n\r\n")
                return
            await self._pause(index)
            index += 1
            await self._begin(begun)
            begun = True
            if self.script.halves:
                await self.connection.frame(self._chunk("", None))
            held.append(piece)
            if reason or len(held) >= self.script.bundle:
                await self.connection.frame(self._chunk("".join(held), reason))
                held.clear()
            self.request.sent = index
        if index == self.script.die_after:
            raise DiedError
        await asyncio.sleep(self.script.delay_end)
        wanted = (self.request.params.get("stream_options") or {}).get("include_usage")
        if self.script.usage and wanted:
            await self.connection.frame(self._json(choices=[], usage=self._usage()))
        await self.connection.frame("[DONE]")
        await self.connection.write(b"0\r\n\r\n")

    async def _begin(self, begun: bool) -> None:
        """Write the head, which MAX withholds until there is a first token."""
        if not begun:
            await self.connection.write(STREAM_HEAD)

    async def _whole(self) -> None:
        text = ""
        ending: str | None = None
        for index, (piece, reason) in enumerate(self._tokens()):
            await self._pause(index)
            self.request.sent = index + 1
            text += piece
            ending = reason
        body = self._json(
            choices=[
                {"index": 0, "text": text, "logprobs": SKELETON, "finish_reason": ending},
            ],
            usage=self._usage(),
        )
        await self.connection.respond(200, body.encode())

    def _chunk(self, text: str, reason: str | None) -> str:
        choice = {"index": 0, "text": text, "logprobs": SKELETON, "finish_reason": reason}
        return self._json(choices=[choice], usage=None)

    def _usage(self) -> dict[str, Any]:
        prompt = len(self.request.prompt)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self.request.sent,
            "total_tokens": prompt + self.request.sent,
            "prompt_tokens_details": {"cached_tokens": 0},
        }

    def _json(self, **fields: Any) -> str:
        """Return one object of the stream; characters are not escaped, as MAX does not."""
        return json.dumps(
            {
                "id": "cmpl-fake_0",
                "object": "text_completion",
                "created": int(time.time()),
                "model": self.model,
                **fields,
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )
