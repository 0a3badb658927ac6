"""One answer of the chat: a request in a thread of its own, told in few messages."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty
from typing import TYPE_CHECKING

from hyperllama_nb.display.progress import Progress
from hyperllama_nb.display.tables import human_duration

if TYPE_CHECKING:
    from hyperllama_nb.client import Record, Response, Stream

INTERVAL = 0.06
"""Seconds between two messages with text: under 20 a second, whatever the engine's speed."""

_TICK = 0.5
"""Seconds between two looks at the clock while nothing comes."""


@dataclass(frozen=True)
class Listener:
    """Who is told of an answer; calls come from the answer's thread.

    `status` takes what is being waited for. `delta` takes the text and the thinking that have
    arrived since the last call, and how many characters of each came before.
    """

    status: Callable[[str], None]
    delta: Callable[[str, str, tuple[int, int]], None]


class Turn:
    """An answer that is being written, to a question after the first `keep` messages.

    `text` and `thinking` are what has arrived, `line` what is being waited for. `run` follows the
    stream to its end and is called once, in a thread that may wait; `stop` and `wait` may be called
    from any other.
    """

    def __init__(self, stream: "Stream", question: str, keep: int) -> None:
        self._stream = stream
        self._ended = threading.Event()
        self.question, self.keep = question, keep
        self.model = stream.model
        self.stopped = False
        self.text = self.thinking = self.line = ""
        self.error: Exception | None = None

    @property
    def response(self) -> "Response":
        """Return the answer so far."""
        return self._stream.response

    def stop(self) -> None:
        """End the request; the engine is free, and what has arrived stays."""
        self.stopped = True
        self._stream.cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; tell whether it has come."""
        return self._ended.wait(timeout)

    def run(self, listener: Listener, finished: Callable[["Turn"], None]) -> None:
        """Follow the stream, then call `finished`, and only then let `wait` return."""
        try:
            self._follow(listener)
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
            self.error = error
            self._stream.close()
        finally:
            try:
                finished(self)
            finally:
                self._ended.set()

    def _follow(self, listener: Listener) -> None:
        progress = Progress(f"Waiting for {self.model}")
        told, sent = (0, 0), -INTERVAL

        def say(line: str) -> None:
            if line != self.line:
                self.line = line
                listener.status(line)

        def tell() -> None:
            nonlocal told, sent
            listener.delta(self.text[told[0] :], self.thinking[told[1] :], told)
            told, sent = (len(self.text), len(self.thinking)), time.monotonic()

        say(progress.text())
        while True:
            waits = told != (len(self.text), len(self.thinking))
            due = sent + INTERVAL - time.monotonic() if waits else _TICK
            try:
                line = self._stream.poll(timeout=max(due, 0.0))
            except Empty:
                if waits:
                    tell()
                elif not self.text and not self.thinking:
                    say(progress.text())
                continue
            if line is None:
                break
            if "status" in line and "done" not in line:
                say(progress.update(line))
            elif self._take(line) and time.monotonic() >= sent + INTERVAL:
                tell()
        if told != (len(self.text), len(self.thinking)):
            tell()

    def _take(self, line: "Record") -> bool:
        message = line.get("message") or {}
        text, thinking = message.get("content") or "", message.get("thinking") or ""
        self.text += text
        self.thinking += thinking
        return bool(text or thinking)


def figures(response: "Response", *, stopped: bool = False) -> str:
    """Return the line under an answer: its speed, what it took of the context, how it ended."""
    times, usage = response.timings, response.usage
    ours = response.get("hyperllama") or {}
    parts: list[str] = []
    if stopped:
        parts.append("stopped")
    if times.tokens_per_second is not None:
        parts.append(f"{times.tokens_per_second:.1f} tokens/s")
    if times.first_token is not None:
        loading = (times.load or 0) >= 1
        part = f" ({human_duration(times.load)} of it to load)" if loading else ""
        parts.append(f"first token after {human_duration(times.first_token)}{part}")
    if usage.output_tokens is not None:
        parts.append(f"{usage.output_tokens} token{'' if usage.output_tokens == 1 else 's'}")
    if usage.total_tokens is not None and ours.get("context_length"):
        parts.append(f"context {usage.total_tokens} of {ours['context_length']}")
    if response.get("done_reason") == "length":
        parts.append("cut at the limit of tokens (num_predict raises it)")
    if ours.get("truncated_tokens"):
        parts.append(
            f"{ours['truncated_tokens']} tokens of the conversation did not fit the context and "
            "were left out (num_ctx raises it)"
        )
    return " · ".join(parts)
