"""Where a generation is shown while it runs: a notebook's cell, a terminal, nowhere."""

import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TextIO

from hyperllama_nb.display.fences import close_fence
from hyperllama_nb.display.harmless import harmless

Format = Literal["markdown", "text"]

MARKDOWN_LIMIT = 20_000
"""Characters. Above it a live update is text only: the browser renders markdown anew each time."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Sink(Protocol):
    """A place for one answer. Calls come from one thread, `finish` exactly once and last."""

    def status(self, line: str) -> None:
        """Show what is being waited for, in place of the last such line."""

    def text(self, delta: str) -> None:
        """Append text to the answer."""

    def due(self) -> float | None:
        """Return the seconds until `flush` has something to do; None if nothing waits."""

    def flush(self) -> None:
        """Show what was held back."""

    def finish(self, footer: str = "", metadata: Mapping[str, Any] | None = None) -> None:
        """Show the whole answer with a line under it, and keep `metadata` with the output."""


class NullSink:
    """Show nothing."""

    def status(self, line: str) -> None:
        """Ignore the line."""

    def text(self, delta: str) -> None:
        """Ignore the text."""

    def due(self) -> float | None:
        """Return None: nothing is ever held back."""
        return None

    def flush(self) -> None:
        """Do nothing."""

    def finish(self, footer: str = "", metadata: Mapping[str, Any] | None = None) -> None:
        """Do nothing."""


class TerminalSink:
    """Write the answer to standard output, and everything else to standard error."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._out_tty, self._err_tty = self._out.isatty(), self._err.isatty()
        self._status = ""
        self._open_line = False

    def status(self, line: str) -> None:
        """Rewrite the line on a terminal; in a file, write it when its wording changes."""
        if self._err_tty:
            # A line that wraps could not be rewritten.
            width = shutil.get_terminal_size().columns - 1
            self._err.write(f"\r\x1b[2K{line[:width]}")
        elif _wording(line) != _wording(self._status):
            self._err.write(f"{line}\n")
        self._err.flush()
        self._status = line

    def text(self, delta: str) -> None:
        """Write the text at once; control sequences do not reach a terminal."""
        if not delta:
            return
        self._clear()
        self._out.write(_CONTROL.sub("", delta) if self._out_tty else delta)
        self._out.flush()
        self._open_line = not delta.endswith("\n")

    def due(self) -> float | None:
        """Return None: nothing is ever held back."""
        return None

    def flush(self) -> None:
        """Do nothing."""

    def finish(
        self,
        footer: str = "",
        metadata: Mapping[str, Any] | None = None,  # noqa: ARG002 - a terminal keeps none
    ) -> None:
        """End the answer's last line and write the footer to standard error."""
        self._clear()
        if self._open_line:
            self._out.write("\n")
            self._out.flush()
        if footer:
            self._err.write(f"{footer}\n")
            self._err.flush()

    def _clear(self) -> None:
        if self._status and self._err_tty:
            self._err.write("\r\x1b[2K")
            self._err.flush()
        self._status = ""


Publish = Callable[[dict[str, Any], dict[str, Any], str, bool], None]
"""Sends (mime bundle, metadata, display id, is this an update) to the front end."""

Final = Callable[[str], dict[str, Any]]
"""Makes of a whole answer the mime bundle that stays; an empty one leaves the footer alone."""

BROKEN_OFF = frozenset({"interrupted", "cancelled", "error"})
"""The `finish_reason` of answers that are not whole: these stay the text that they are."""


class DisplaySink:
    """Update one output of the running cell.

    The interval between updates grows with the text, since a browser lays out the whole of it each
    time: 0.03 s for each 1,000 characters keeps that under a quarter of its time. With `final` the
    answer is text while it grows, and that bundle when it is whole.
    """

    def __init__(
        self,
        format: Format = "markdown",  # noqa: A002 - the name of the magic's option
        *,
        final: Final | None = None,
        publish: Publish | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._markdown = format == "markdown" and final is None
        self._final = final
        self._publish = publish or display_bundle
        self._clock = clock
        self._id = ""
        self._last: tuple[dict[str, Any], dict[str, Any]] = {}, {}
        self._pieces: list[str] = []
        self._length = 0
        self._sent = -1.0
        self._waiting: Literal["status", "text"] | None = None
        self._status = ""

    def status(self, line: str) -> None:
        """Show the line until the first text comes."""
        if not self._length and line != self._status:
            self._status, self._waiting = line, "status"
            self._flush_if_due()

    def text(self, delta: str) -> None:
        """Append text; the first is shown at once."""
        if not delta:
            return
        first = not self._length
        self._pieces.append(delta)
        self._length += len(delta)
        self._waiting = "text"
        if first:
            self.flush()
        else:
            self._flush_if_due()

    def due(self) -> float | None:
        """Return the seconds until the next update may go out; None if nothing waits."""
        if self._waiting is None:
            return None
        if not self._id:
            return 0.0
        interval = min(1.0, max(0.1, 0.03 * self._length / 1000))
        return max(0.0, self._sent + interval - self._clock())

    def flush(self) -> None:
        """Send what waits."""
        if self._waiting == "status":
            self._send({"text/plain": self._status}, {})
        elif self._waiting == "text":
            shown = self._joined()
            self._send(self._bundle(shown, "", markdown=self._length <= MARKDOWN_LIMIT), {})
        self._waiting = None

    def finish(self, footer: str = "", metadata: Mapping[str, Any] | None = None) -> None:
        """Send the whole text with the footer and the metadata."""
        self._waiting = None
        extra = {"hyperllama": dict(metadata)} if metadata else {}
        text = self._joined()
        whole = (metadata or {}).get("finish_reason") not in BROKEN_OFF
        bundle = self._final(text) if self._final and whole else {}
        if bundle:
            self._send(bundle, extra)
            # A front end shows one form of an output, and most forms have no place for a footer.
            if footer:
                self._publish(self._under(footer), {}, new_display_id(), False)
            return
        shown = "" if self._final and whole else text
        self._send(self._bundle(shown, footer, markdown=True), extra)

    def again(self) -> None:
        """Send what is shown once more, from whichever cell runs now."""
        if self._id:
            self._publish(*self._last, self._id, True)

    def _flush_if_due(self) -> None:
        if self.due() == 0.0:
            self.flush()

    def _joined(self) -> str:
        text = "".join(self._pieces)
        self._pieces = [text]
        return text

    def _under(self, footer: str) -> dict[str, Any]:
        return {"text/plain": footer, "text/markdown": f"<small>{footer}</small>"}

    def _bundle(self, text: str, footer: str, *, markdown: bool) -> dict[str, Any]:
        # some front ends drop an output whose text is empty, and its updates with it
        plain = f"{text}\n\n{footer}" if text and footer else text or footer or " "
        bundle: dict[str, Any] = {"text/plain": plain}
        if markdown and self._markdown:
            under = f"\n\n<small>{footer}</small>" if footer else ""
            bundle["text/markdown"] = (harmless(close_fence(text)) + under).strip("\n") or " "
        return bundle

    def _send(self, bundle: dict[str, Any], metadata: dict[str, Any]) -> None:
        update = bool(self._id)
        if not update:
            self._id = new_display_id()
        self._publish(bundle, metadata, self._id, update)
        self._last = bundle, metadata
        self._sent = self._clock()


def choose_sink(format: Format = "markdown", final: Final | None = None) -> Sink:  # noqa: A002
    """Return the sink for where this code runs: a kernel's cell or a terminal.

    What `final` makes of the answer is for a cell; in a terminal the text stays as it came.
    """
    return DisplaySink(format, final=final) if in_kernel() else TerminalSink()


def current_shell() -> Any:
    """Return IPython's shell, or None where none runs; imports nothing."""
    ipython = sys.modules.get("IPython")
    return getattr(ipython, "get_ipython", lambda: None)()


def in_kernel() -> bool:
    """Return whether a Jupyter front end shows this process's output."""
    return getattr(current_shell(), "kernel", None) is not None


def new_display_id() -> str:
    """Return an id for an output that later messages replace."""
    import uuid

    return f"hyperllama-{uuid.uuid4().hex}"


def display_bundle(
    bundle: Mapping[str, Any], metadata: Mapping[str, Any], id_: str, update: bool = False
) -> None:
    """Display a bundle under an id, or put it in the place of what has that id."""
    from IPython.display import display, update_display

    show: Callable[..., object] = update_display if update else display
    show(dict(bundle), raw=True, display_id=id_, metadata=dict(metadata))


def _wording(line: str) -> str:
    return re.sub(r"[\d.]+", "", line)
