"""One completion on its way to its client."""

import time

from . import frames
from .frames import Frames
from .generation import Generation, Piece, Told
from .http import Connection
from .metrics import Metrics
from .request import Request

COMPLETIONS = "/v1/completions"


class Answer:
    """Sends a completion: as a stream whose head goes out with the first piece, or as a whole."""

    def __init__(
        self, connection: Connection, request: Request, made: Frames, metrics: Metrics
    ) -> None:
        self.arrived = time.monotonic()
        self._connection = connection
        self._request = request
        self._frames = made
        self._metrics = metrics
        self._began = False
        self._texts: list[str] = []
        self._told: list[Told] = []

    def piece(self, generation: Generation, piece: Piece) -> None:
        """Send a piece, or keep it where the answer goes out as a whole."""
        if not self._request.stream:
            self._keep(generation, piece)
            return
        data = self._frames.piece(piece)
        if not self._began:
            self._began = True
            data = frames.STREAM + data
        if piece.reason is None:
            self._connection.write(data)
            return
        usage = self._frames.usage(generation) if self._request.usage else b""
        self._end(200, data + usage + frames.DONE)

    def fail(self, status: int, message: str) -> None:
        """Send an error: as the answer, or as the last frame of one that has begun."""
        body = frames.envelope(status, message)
        sent = b"data: " + body + b"\n\n" if self._began else frames.whole(status, body)
        self._end(status, sent)

    def _keep(self, generation: Generation, piece: Piece) -> None:
        self._texts.append(piece.text)
        if piece.told is not None:
            self._told.append(piece.told)
        if piece.reason is not None:
            text = "".join(self._texts)
            body = self._frames.whole(generation, text, self._told, piece.reason)
            self._end(200, frames.whole(200, body))

    def _end(self, status: int, data: bytes) -> None:
        self._connection.finish(data)
        self._metrics.answered(status, COMPLETIONS, self.arrived)
