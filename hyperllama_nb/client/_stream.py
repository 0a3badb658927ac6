"""An answer that is read while it is written."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar

from hyperllama_nb.client import _base
from hyperllama_nb.client._call import Call
from hyperllama_nb.client._records import Record
from hyperllama_nb.client._response import Growing, Response

Item = tuple[Literal["line"], dict[str, Any]] | tuple[Literal["end"], BaseException | None]
Chunk = TypeVar("Chunk", bound=Record)

FINAL: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "generate": lambda line: bool(line.get("done")),
    "chat": lambda line: bool(line.get("done")),
    "pull": lambda line: line.get("status") == "success",
    "create": lambda line: line.get("status") == "success",
    "load": lambda line: line.get("status") == "ready",
    "serve": lambda _: True,
}
"""How the last line of each kind of answer is told from one that was cut short."""


class Lines(Generic[Chunk]):
    """An answer's lines as they arrive: an iterator whose request has been sent already.

    A thread of its own reads them, so that the wait for the next one can have an end and an
    interrupt reaches the waiting thread at once. `close` ends the connection, and with it the work.
    `kind` is what is done: `generate`, `chat`, `pull`, `create`, `load` or `serve`.
    """

    def __init__(self, call: Call, kind: str, address: _base.Address) -> None:
        self._call, self.kind, self._address = call, kind, address
        self._queue: SimpleQueue[Item] = SimpleQueue()
        self._ended = self._final = False
        self.last: Chunk | None = None
        # the thread must not hold this object: dropping the object is what ends the thread
        threading.Thread(
            target=_read, args=(call, self._queue), name="hyperllama-stream", daemon=True
        ).start()

    def poll(self, timeout: float | None = None) -> Chunk | None:
        """Return the next line, or None at the end.

        Unlike iteration it also returns the lines that tell what is being waited for. Raises
        queue.Empty if nothing comes within `timeout` seconds, and the error of the answer.
        """
        if self._ended:
            return None
        what, found = self._queue.get(timeout=timeout)
        if what == "line":
            line = self._chunk(found)  # type: ignore[arg-type]
            self._final = FINAL[self.kind](line)
            self.last = line
            return line
        self._ended = True
        if isinstance(found, BaseException):
            raise found
        if not self._final and not self._call.cancelled:
            raise _base.cut_short(self.kind, self._address)
        return None

    @property
    def ended(self) -> bool:
        """Tell whether all has been read."""
        return self._ended

    @property
    def cancelled(self) -> bool:
        """Tell whether `close` or `cancel` was called."""
        return self._call.cancelled

    def arrived(self) -> Iterator[Chunk]:
        """Yield what has arrived and was not read, without waiting; raises the answer's error."""
        while True:
            try:
                line = self.poll(timeout=0)
            except Empty:
                return
            if line is None:
                return
            yield line

    def drain(self) -> list[Chunk]:
        """Return what has arrived and was not read, without waiting."""
        found: list[Chunk] = []
        with contextlib.suppress(Exception):  # what came before the error is wanted
            for line in self.arrived():
                found.append(line)  # noqa: PERF402 - some must stay when an error comes
        return found

    def close(self) -> None:
        """End the connection; what has not arrived will not."""
        self._ended = True
        self._call.cancel()

    def cancel(self) -> None:
        """End the connection, and keep what has arrived readable."""
        self._call.cancel()

    def __iter__(self) -> Iterator[Chunk]:
        """Return itself."""
        return self

    def __next__(self) -> Chunk:
        while True:
            line = self.poll()
            if line is None:
                raise StopIteration
            if not self._is_progress(line):
                return line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_call"):
            self._call.cancel()

    def _chunk(self, line: dict[str, Any]) -> Chunk:
        return Record(line)  # type: ignore[return-value]

    def _is_progress(self, line: Record) -> bool:  # noqa: ARG002
        return False


class Stream(Lines[Record]):
    """A growing answer: iterate over its chunks, then read `.response`."""

    def __init__(
        self, call: Call, kind: Literal["generate", "chat"], model: str, address: _base.Address
    ) -> None:
        self._growing = Growing(kind, model)
        self.model = model
        super().__init__(call, kind, address)

    @property
    def response(self) -> Response:
        """Return the answer so far; it is whole once the iteration has ended."""
        return self._growing.response()

    def __repr__(self) -> str:
        """Return the model and how far it is."""
        return f"<Stream {self.model} {'ended' if self._ended else 'running'}>"

    def _chunk(self, line: dict[str, Any]) -> Record:
        if not is_progress(line):
            self._growing.add(line)
        return Record(line)

    def _is_progress(self, line: Record) -> bool:
        return is_progress(line)


def is_progress(line: Mapping[str, Any]) -> bool:
    """Tell the lines about what a generation waits for from its chunks."""
    return "status" in line and "done" not in line


def _read(call: Call, queue: "SimpleQueue[Item]") -> None:
    try:
        for line in call.lines():
            queue.put(("line", line))
    except BaseException as error:  # noqa: BLE001 - it is raised where the lines are read
        queue.put(("end", error))
    else:
        queue.put(("end", None))
