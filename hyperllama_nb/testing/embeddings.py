"""The embeddings of a FakeEngine: vectors that texts with the same tokens share, as MAX sends."""

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hyperllama_nb.testing.answer import Request
from hyperllama_nb.testing.connection import Connection, DiedError
from hyperllama_nb.testing.script import Script


def fake_vector(ids: Sequence[int], width: int = 8) -> list[float]:
    """Return the vector that a FakeEngine gives for token ids: the sum of one for each token.

    As MAX's, it is longer for a longer text, and texts with the same tokens point the same way.
    """
    return [
        math.fsum(math.sin((token + 1) * (place + 1)) for token in ids) for place in range(width)
    ]


@dataclass
class Embeddings:
    """The answer to one request, written to its connection.

    The script's delays are before the first and each other text; it dies, stalls or reports its
    error after so many texts as it says of pieces.
    """

    connection: Connection
    request: Request
    script: Script
    model: str

    asked: ClassVar[str] = "input"

    async def send(self) -> None:
        """Write the answer."""
        rows = []
        for index, ids in enumerate(self._texts()):
            if not ids or index == self.script.error_after:
                await self._fail()
                return
            await self._pause(index)
            rows.append({"object": "embedding", "index": index, "embedding": self._vector(ids)})
            self.request.sent = index + 1
        if not rows or self.request.sent == self.script.error_after:
            await self._fail()
            return
        await self._pause(None)
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        body = {"data": rows, "model": self.model, "object": "list", "usage": usage}
        await self.connection.respond(200, json.dumps(body).encode())

    def _texts(self) -> list[list[int]]:
        """Return the token ids of each text that was asked for; a character is one token."""
        asked: Any = self.request.prompt
        if isinstance(asked, str) or (asked and isinstance(asked[0], int)):
            asked = [asked]
        return [[*map(ord, text)] if isinstance(text, str) else text for text in asked]

    async def _pause(self, index: int | None) -> None:
        """Wait, break or stall before a text (None: after the last one) as the script says."""
        at = self.request.sent if index is None else index
        if at == self.script.die_after:
            raise DiedError
        if at == self.script.stall_after:
            await asyncio.Event().wait()
        if index is not None:
            await asyncio.sleep(self.script.delay if index else self.script.delay_first)

    def _vector(self, ids: list[int]) -> list[float | None]:
        if self.script.poison in ids:
            return [None] * self.script.width
        return [*fake_vector(ids, self.script.width)]

    async def _fail(self) -> None:
        """Answer as MAX does where its pipeline fails, or to texts without a token."""
        message = self.script.error
        error = {"code": "500", "message": message, "param": "", "type": "api_error"}
        await self.connection.respond(500, json.dumps({"error": error}).encode())
