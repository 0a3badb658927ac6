"""An answer that is shown when it is whole: until then only its growth."""

from collections.abc import Callable, Mapping
from typing import Any

from hyperllama_nb.display.sinks import BROKEN_OFF, Sink, TerminalSink


class HeldSink:
    """Count what comes, and give the inner sink at the end what `final` makes of the whole.

    An answer that is not whole is given as it is, unless `quiet`: then nothing is ever given but
    the footer.
    """

    def __init__(
        self, inner: Sink, final: Callable[[str], str] = str, *, quiet: bool = False
    ) -> None:
        self._inner, self._final, self._quiet = inner, final, quiet
        self._pieces: list[str] = []
        self._length = 0

    def status(self, line: str) -> None:
        """Show what is being waited for."""
        if not self._length:
            self._inner.status(line)

    def text(self, delta: str) -> None:
        """Count the text."""
        self._pieces.append(delta)
        self._length += len(delta)
        if self._length:
            self._inner.status(f"Writing, {self._length:,} characters so far")

    def due(self) -> float | None:
        """Return the seconds until the count may be shown."""
        return self._inner.due()

    def flush(self) -> None:
        """Show the count."""
        self._inner.flush()

    def finish(self, footer: str = "", metadata: Mapping[str, Any] | None = None) -> None:
        """Show the answer, and the line under it."""
        text = "".join(self._pieces)
        if (metadata or {}).get("finish_reason") not in BROKEN_OFF:
            text = self._final(text)
        if text and not self._quiet:
            self._inner.text(text)
        self._inner.finish(footer, metadata)

    def again(self) -> None:
        """Send what is shown once more, where the inner sink can."""
        again = getattr(self._inner, "again", None)
        if again is not None:
            again()


class LateTerminal:
    """A terminal's sink that is made at the end: until then the prompt is the user's."""

    def __init__(self) -> None:
        self._text = ""

    def status(self, line: str) -> None:
        """Say nothing."""

    def text(self, delta: str) -> None:
        """Keep the text."""
        self._text += delta

    def due(self) -> float | None:
        """Return None: nothing is shown in between."""
        return None

    def flush(self) -> None:
        """Do nothing."""

    def finish(self, footer: str = "", metadata: Mapping[str, Any] | None = None) -> None:
        """Write all of it."""
        sink = TerminalSink()
        sink.text(self._text)
        sink.finish(footer, metadata)
