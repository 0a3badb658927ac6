"""Driving a sink with a stream, from the thread that an interrupt reaches."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from queue import Empty
from typing import TYPE_CHECKING, Any

from hyperllama_nb.display.footer import facts, footer_of
from hyperllama_nb.display.progress import Progress
from hyperllama_nb.display.sinks import Sink
from hyperllama_nb.display.tables import human_duration

if TYPE_CHECKING:
    from hyperllama_nb.client import Response, Stream
    from hyperllama_nb.client._records import Record
    from hyperllama_nb.client._stream import Lines

TICK = 0.5
"""Seconds between two looks at the clock while nothing comes: elapsed time must not stand still."""

_GLANCE = 0.03
"""Seconds between two looks at what has arrived for a task."""


_LEFT = {
    "pull": "Interrupted; pull it again to go on with what is kept.",
    "load": "Interrupted; the model goes on loading.",
}
"""What is told of an interrupt that leaves something behind, by the kind of what was waited for."""


class GenerationInterrupted(KeyboardInterrupt):
    """The user interrupted an answer; `response` is what had arrived.

    It is raised, not swallowed: the cells that wait behind this one must not run.
    """

    def __init__(
        self,
        response: "Response | None" = None,
        message: str = "Interrupted; the text that had arrived is kept.",
    ) -> None:
        super().__init__(message)
        self.response = response

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


def stream_to(
    sink: Sink,
    stream: "Stream",
    *,
    footer: "Callable[[Response], str] | None" = None,
    metadata: Mapping[str, Any] | None = None,
    tell: bool = False,
) -> "Response":
    """Show an answer while it grows, and return it.

    The first text is shown at once and the last even if the engine stalls. `footer` gives the line
    under the answer, `metadata` is kept with the output beside usage and timings. Raises
    GenerationInterrupted after Ctrl-C, with the connection closed and the partial text shown; an
    error of the answer leaves its partial text shown too. With `tell` the whole error is shown, for
    a thread whose error nobody sees.
    """
    showing = _Showing(sink, stream, footer or footer_of, metadata or {}, tell=tell)
    try:
        with _cancelled_on_error(stream):
            for line in _items(sink, stream, showing.idle):
                showing.take(line)
    except KeyboardInterrupt:
        raise GenerationInterrupted(showing.interrupted()) from None
    except Exception as error:
        showing.failed(error)
        raise
    return showing.ended()


async def stream_to_async(
    sink: Sink,
    stream: "Stream",
    *,
    footer: "Callable[[Response], str] | None" = None,
    metadata: Mapping[str, Any] | None = None,
) -> "Response":
    """Do what `stream_to` does without blocking the event loop that awaits it.

    A task that is cancelled ends the answer in the engine; CancelledError goes on to the caller.
    """
    showing = _Showing(sink, stream, footer or footer_of, metadata or {})
    try:
        with _cancelled_on_error(stream):
            while not stream.ended:
                # A thread collects the lines; what a reader can tell apart is shown in time.
                await asyncio.sleep(_GLANCE)
                for line in stream.arrived():
                    showing.take(line)
                showing.idle()
                if sink.due() == 0.0:
                    sink.flush()
    except (asyncio.CancelledError, KeyboardInterrupt):
        showing.interrupted()
        raise
    except Exception as error:
        showing.failed(error)
        raise
    return showing.ended()


def follow(sink: Sink, lines: "Lines[Record]", *, waiting: str = "Waiting") -> "Record":
    """Show progress lines until the last one, and return it.

    Raises the error of the answer, and GenerationInterrupted after Ctrl-C.
    """
    progress = Progress(waiting)
    begun = time.monotonic()

    def took() -> str:
        return human_duration(time.monotonic() - begun)

    try:
        with _cancelled_on_error(lines):
            for line in _items(sink, lines, lambda: sink.status(progress.text())):
                if line.get("status") not in {"ready", "success"}:
                    sink.status(progress.update(line))
    except KeyboardInterrupt:
        sink.finish(f"Interrupted after {took()}{progress.reached()}.")
        raise GenerationInterrupted(None, _LEFT.get(lines.kind, "Interrupted.")) from None
    except Exception:
        sink.finish(f"Failed after {took()}{progress.reached()}.")
        raise
    last = lines.last
    if last is None:
        raise GenerationInterrupted
    sink.finish(f"{_done(last)}, {took()}.")
    return last


def _items(sink: Sink, lines: "Lines[Record]", idle: Callable[[], None]) -> "Iterator[Record]":
    """Yield the lines; in between, let the sink show what it held back, and the clock go on."""
    while True:
        due = sink.due()
        try:
            line = lines.poll(timeout=TICK if due is None else min(due, TICK))
        except Empty:
            idle()
        else:
            if line is None:
                return
            yield line
        if sink.due() == 0.0:
            sink.flush()


@contextmanager
def _cancelled_on_error(lines: "Lines[Record]") -> Iterator[None]:
    """Close the connection before anything else happens when the block is left by an exception."""
    try:
        yield
    except BaseException:
        lines.cancel()
        raise


class _Showing:
    """What is shown of one answer, whoever brings the lines."""

    def __init__(
        self,
        sink: Sink,
        stream: "Stream",
        footer: "Callable[[Response], str]",
        metadata: Mapping[str, Any],
        *,
        tell: bool = False,
    ) -> None:
        self._sink, self._stream = sink, stream
        self._footer, self._metadata, self._tell = footer, metadata, tell
        self._progress = Progress(f"Waiting for {stream.model}")
        self._begun = self._shown = False
        self._entered = time.monotonic()

    def take(self, line: "Record") -> None:
        """Show a line of the answer."""
        if "status" in line and "done" not in line:
            self._say(self._progress.update(line))
            return
        place = line.get("message", line)
        text = place.get("content" if "message" in line else "response")
        if text:
            self._begun = self._shown = True
            self._sink.text(text)
        elif place.get("thinking") and not self._begun:
            self._say(self._progress.update({"status": "Thinking", "elapsed": self._since()}))

    def idle(self) -> None:
        """Let the clock go on while nothing comes."""
        if not self._begun and (self._shown or self._since() >= 2 * TICK):
            self._say(self._progress.text())

    def ended(self) -> "Response":
        """Show the whole answer, or what there is of one that another thread cancelled."""
        if self._stream.cancelled:
            return self._end("cancelled", "Cancelled.")
        return self._end(None, self._footer(self._stream.response))

    def interrupted(self) -> "Response":
        """Show what had arrived when the user interrupted."""
        for line in self._stream.drain():
            self.take(line)
        return self._end("interrupted", "Interrupted.")

    def failed(self, error: Exception) -> None:
        """Show that the answer broke off, under what there is of it."""
        if self._tell:
            self._end("error", f"{type(error).__name__}: {error}")
        elif self._shown:
            self._end("error", f"Ended by an error: {type(error).__name__}.")

    def _end(self, reason: str | None, line: str) -> "Response":
        response = self._stream.response
        self._sink.finish(line, {**self._metadata, **facts(response, reason)})
        return response

    def _say(self, line: str) -> None:
        self._shown = True
        self._sink.status(line)

    def _since(self) -> float:
        return time.monotonic() - self._entered


def _done(last: "Record") -> str:
    if last.get("status") != "ready":
        return "Done"
    engine = last["engine"]
    return f"{engine['model']} is ready ({engine.get('backend')} on {engine.get('device')})"
