"""Driving a sink with a stream, from the thread that an interrupt reaches."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from queue import Empty
from typing import TYPE_CHECKING, Any

from hyperllama_nb._version import __version__
from hyperllama_nb.display.progress import Progress
from hyperllama_nb.display.sinks import Sink
from hyperllama_nb.display.tables import human_duration

if TYPE_CHECKING:
    from hyperllama_nb.client import Response, Stream
    from hyperllama_nb.client._records import Record
    from hyperllama_nb.client._stream import Lines

TICK = 0.5
"""Seconds between two looks at the clock while nothing comes: elapsed time must not stand still."""


class GenerationInterrupted(KeyboardInterrupt):
    """The user interrupted an answer; `response` is what had arrived.

    It is raised, not swallowed: the cells that wait behind this one must not run.
    """

    def __init__(self, response: "Response | None" = None) -> None:
        super().__init__("Interrupted; the text that had arrived is kept.")
        self.response = response

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


def stream_to(
    sink: Sink,
    stream: "Stream",
    *,
    footer: "Callable[[Response], str] | None" = None,
    metadata: Mapping[str, Any] | None = None,
) -> "Response":
    """Show an answer while it grows, and return it.

    The first text is shown at once and the last even if the engine stalls. `footer` gives the line
    under the answer, `metadata` is kept with the output beside usage and timings. Raises
    GenerationInterrupted after Ctrl-C, with the connection closed and the partial text shown; an
    error of the answer leaves its partial text shown too.
    """
    footer = footer or footer_of
    progress = Progress(f"Waiting for {stream.model}")
    begun = shown = False
    entered = time.monotonic()

    def take(line: "Record") -> None:
        nonlocal begun, shown
        if "status" in line and "done" not in line:
            shown = True
            sink.status(progress.update(line))
            return
        text = line["message"]["content"] if "message" in line else line.get("response")
        if text:
            begun = shown = True
            sink.text(text)

    def idle() -> None:
        nonlocal shown
        if not begun and (shown or time.monotonic() - entered >= 2 * TICK):
            shown = True
            sink.status(progress.text())

    def end(reason: str | None, line: str) -> "Response":
        response = stream.response
        sink.finish(line, {**(metadata or {}), **facts(response, reason)})
        return response

    try:
        with _cancelled_on_error(stream):
            for line in _items(sink, stream, idle):
                take(line)
    except KeyboardInterrupt:
        for line in stream.drain():
            take(line)
        response = end("interrupted", "Interrupted.")
        raise GenerationInterrupted(response) from None
    except Exception as error:
        if shown:
            end("error", f"Ended by an error: {type(error).__name__}.")
        raise
    response = stream.response
    return end(None, footer(response))


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
        sink.finish(f"Interrupted after {took()}.")
        raise GenerationInterrupted from None
    except Exception:
        sink.finish(f"Failed after {took()}.")
        raise
    last = lines.last
    if last is None:
        raise GenerationInterrupted
    sink.finish(f"{_done(last)}, {took()}.")
    return last


def facts(response: "Response", reason: str | None = None) -> dict[str, Any]:
    """Return what is saved with an answer's output: usage, timings, how it ended."""
    from dataclasses import asdict

    ours = response.get("hyperllama") or {}
    return {
        "model": response.get("model"),
        "seed": ours.get("seed"),
        "usage": asdict(response.usage),
        "timings": asdict(response.timings),
        "truncated_tokens": ours.get("truncated_tokens"),
        "finish_reason": reason or response.get("done_reason"),
        "version": __version__,
    }


def footer_of(response: "Response", *, detail: bool = False) -> str:
    """Return the line under an answer: how fast it was, and what was cut from it."""
    times, usage = response.timings, response.usage
    ours = response.get("hyperllama") or {}
    parts: list[str] = []
    if times.first_token is not None:
        loading = (times.load or 0) >= 1
        part = f" ({human_duration(times.load)} of it to load)" if loading else ""
        parts.append(f"first token after {human_duration(times.first_token)}{part}")
    if usage.output_tokens is not None:
        parts.append(f"{usage.output_tokens} tokens")
    if times.tokens_per_second is not None:
        parts.append(f"{times.tokens_per_second:.1f} tokens/s")
    if detail:
        parts += _detail(response)
    if response.get("done_reason") == "length":
        parts.append("cut at the limit of tokens (--max-tokens raises it)")
    if ours.get("truncated_tokens"):
        parts.append(
            f"{ours['truncated_tokens']} tokens of the prompt did not fit the context of "
            f"{ours.get('context_length')} and were left out (--num-ctx raises it)"
        )
    return " · ".join(parts)


def _detail(response: "Response") -> Iterator[str]:
    times, usage = response.timings, response.usage
    if usage.prompt_tokens is not None:
        cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
        yield f"prompt {usage.prompt_tokens} tokens{cached}"
    for label, seconds in (
        ("prompt read in", times.prompt),
        ("loaded in", times.load),
        ("queued", times.queue),
        ("in total", times.total),
    ):
        if seconds is not None and seconds >= 0.0005:
            yield f"{label} {human_duration(seconds)}"


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


def _done(last: "Record") -> str:
    if last.get("status") != "ready":
        return "Done"
    engine = last["engine"]
    return f"{engine['model']} is ready ({engine.get('backend')} on {engine.get('device')})"
