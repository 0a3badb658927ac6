"""Where a command runs: in a terminal or in a notebook's cell."""

import sys
from functools import cached_property
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperllama_nb.client import Client, Record, Stream
    from hyperllama_nb.client._stream import Lines
    from hyperllama_nb.display.sinks import Sink


class Context:
    """The surroundings of a command in a terminal: what it talks to and where it writes.

    The result goes to standard output; everything that is not the result goes to standard error.
    `client` gives the client to use in place of the default one.
    """

    prog = "hyperllama"
    cell = False

    def __init__(self, client: "Client | None" = None) -> None:
        self._client = client

    @cached_property
    def client(self) -> "Client":
        """Return the client, which starts the service when it is first needed."""
        if self._client is not None:
            return self._client
        from hyperllama_nb.client import client

        return client()

    @cached_property
    def running(self) -> "Client":
        """Return a client that starts nothing: without a service its calls raise ServiceError."""
        if self._client is not None:
            return self._client
        from hyperllama_nb.client import Client

        return Client(start=False)

    @property
    def interactive(self) -> bool:
        """Say whether a person sits at both ends of the terminal."""
        return sys.stdin.isatty() and sys.stdout.isatty()

    def show(self, result: Any) -> None:
        """Write a result: a table or a text."""
        text = str(result)
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()

    def write(self, text: str) -> None:
        """Write a piece of an answer at once, with nothing around it."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def stream(self, stream: "Stream", *, quiet: bool = False) -> None:
        """Show an answer while it grows; `quiet` leaves out the waiting and the figures."""
        from hyperllama_nb.display.streaming import stream_to

        stream_to(self._sink(quiet=quiet), stream)

    def follow(self, lines: "Lines[Record]", waiting: str) -> "Record":
        """Show the lines of a pull or a load until the last one, and return that."""
        from hyperllama_nb.display.streaming import follow

        return follow(self._sink(), lines, waiting=waiting)

    def _sink(self, *, quiet: bool = False) -> "Sink":
        from hyperllama_nb.display.sinks import TerminalSink

        return TerminalSink(err=StringIO() if quiet else None)

    def note(self, text: str) -> None:
        """Tell something that is not the result."""
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


class CellContext(Context):
    """The surroundings of a command in a notebook's cell."""

    prog = "%llm"
    cell = True

    @property
    def interactive(self) -> bool:
        """A cell has no terminal to talk in."""
        return False

    def show(self, result: Any) -> None:
        """Display a table with its HTML form; print a text."""
        if isinstance(result, str):
            super().show(result)
            return
        from IPython.display import display

        display(result)  # type: ignore[no-untyped-call]

    def _sink(self, *, quiet: bool = False) -> "Sink":  # noqa: ARG002 - nothing can be in the way
        from hyperllama_nb.display.sinks import choose_sink

        return choose_sink()

    def note(self, text: str) -> None:
        """Print it: a cell's standard error looks like a failure."""
        self.write(text + "\n")
