"""What goes over the wire: the answers' heads, the frames of a stream, errors."""

import json
import time
from typing import Any

from .generation import Generation, Piece, Told

_REASONS = {
    200: b"OK",
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    411: b"Length Required",
    413: b"Content Too Large",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    503: b"Service Unavailable",
}
DONE = b"data: [DONE]\n\n"
STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-store\r\nconnection: close\r\n\r\n"
)
"""The head of a stream, whose end is `DONE`: what closes without it has broken off."""


def whole(status: int, body: bytes, kind: bytes = b"application/json") -> bytes:
    """Return a complete answer."""
    retry = b"retry-after: 1\r\n" if status == 429 else b""
    return (
        b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n%b"
        % (status, _REASONS[status], kind, len(body), retry, body)
    )


def envelope(status: int, message: str) -> bytes:
    """Return an error in OpenAI's envelope, under MAX's names."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"code": str(status), "message": message, "param": "", "type": kind}
    return json.dumps({"error": error}).encode()


class Frames:
    """The frames of one answer; what is the same in all of them is made once."""

    def __init__(self, name: str, model: str) -> None:
        """Take the answer's id and the name of the model."""
        self._common = {
            "id": name,
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
        }
        head = json.dumps(self._common)[:-1].encode()
        self._before = b"data: " + head + b', "choices": [{"index": 0, "text": '
        self._usage = b"data: " + head + b', "choices": [], "usage": '

    def piece(self, piece: Piece) -> bytes:
        """Return the frame of a piece."""
        text = json.dumps(piece.text).encode()
        if piece.told is None and piece.reason is None:
            return self._before + text + b', "logprobs": null, "finish_reason": null}]}\n\n'
        told = json.dumps(None if piece.told is None else listed([piece.told])).encode()
        reason = json.dumps(piece.reason).encode()
        return b'%b%b, "logprobs": %b, "finish_reason": %b}]}\n\n' % (
            *(self._before, text),
            *(told, reason),
        )

    def usage(self, generation: Generation) -> bytes:
        """Return the frame of the counts."""
        return self._usage + json.dumps(counts(generation)).encode() + b"}\n\n"

    def whole(self, generation: Generation, text: str, told: list[Told], reason: str) -> bytes:
        """Return the object of an answer that was not streamed."""
        choice = {
            "index": 0,
            "text": text,
            "logprobs": listed(told) if told else None,
            "finish_reason": reason,
        }
        return json.dumps(
            {**self._common, "choices": [choice], "usage": counts(generation)}
        ).encode()


def counts(generation: Generation) -> dict[str, Any]:
    """Return the tokens of an answer and its prompt."""
    prompt = int(generation.request.prompt.size)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generation.made,
        "total_tokens": prompt + generation.made,
        "prompt_tokens_details": {"cached_tokens": generation.cached},
    }


def listed(told: list[Told]) -> dict[str, Any]:
    """Return log-probabilities as OpenAI's completions have them: lists side by side."""
    return {
        "tokens": [one.token for one in told],
        "token_logprobs": [one.logprob for one in told],
        # Two tokens of one spelling (halves of characters): the likelier one stands.
        "top_logprobs": [dict(reversed(one.top)) for one in told],
    }
