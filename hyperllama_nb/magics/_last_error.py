"""The errors of this kernel's cells, taken from IPython's `post_run_cell` event."""

from collections.abc import Iterator
from dataclasses import dataclass
from traceback import TracebackException
from typing import Any

from hyperllama_nb.errors import HyperLlamaError

MOST = 100
"""Errors that are remembered; the oldest goes first."""

LONGEST = 20_000
"""Characters of a traceback that are kept."""


@dataclass(frozen=True)
class CellError:
    """What went wrong in a cell; `number` is that of In[number], None outside the history.

    `traceback` has Python's own form, without colours and without IPython's own frames; a cell is
    the file `In[number]` in it. `line` is the line of the cell where it failed, from 1.
    """

    number: int | None
    kind: str
    source: str
    traceback: str
    line: int | None = None


class LastError:
    """Remembers what failed in the cells of a shell; `remember` is called after each."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._errors: dict[int, CellError] = {}
        self.last: CellError | None = None
        """The last error of the user's code: no interrupt, and none that our magics raised."""

    def remember(self, result: Any) -> None:
        """Take the error of a finished cell (IPython's ExecutionResult), if it has one."""
        error = result.error_before_exec or result.error_in_exec
        if not isinstance(error, BaseException):
            return
        found = self._read(error, result)
        if found.number is not None:
            self._errors[found.number] = found
            while len(self._errors) > MOST:
                del self._errors[next(iter(self._errors))]
        if isinstance(error, Exception) and not _is_ours(error):
            self.last = found

    def of(self, execution_count: int) -> str | None:
        """Return the traceback of In[execution_count] as text; None if it did not fail."""
        found = self.at(execution_count)
        return None if found is None else found.traceback

    def at(self, execution_count: int) -> CellError | None:
        """Return the error of In[execution_count]; None if it did not fail."""
        return self._errors.get(execution_count)

    def _read(self, error: BaseException, result: Any) -> CellError:
        number = result.execution_count if result.info.store_history else None
        told = TracebackException.from_exception(error, compact=True)
        line = None
        for each in _chain(told):
            self._rename(each)
            line = line or _line_of(each, f"In[{result.execution_count}]")
        return CellError(
            number=number,
            kind=type(error).__name__,
            source=str(result.info.raw_cell or ""),
            traceback=_bounded("".join(told.format()).rstrip("\n")),
            line=line,
        )

    def _rename(self, told: TracebackException) -> None:
        """Name the cells among the files, and leave out IPython's frames above the first of them.

        All frames of a cell that cannot be compiled are IPython's.
        """
        first = None
        own = self._cell(getattr(told, "filename", None) or "")
        if own:
            told.filename = own
            first = len(told.stack)
        for index, frame in enumerate(told.stack):
            # Read the source now: it is kept under the name that goes.
            _ = frame.line
            name = self._cell(frame.filename)
            if name:
                frame.filename = name
                first = index if first is None else first
        del told.stack[: first or 0]

    def _cell(self, file: str) -> str | None:
        found = self._shell.compile.format_code_name(file)
        return found[1] if found else None


def _chain(told: TracebackException) -> Iterator[TracebackException]:
    """Yield an error, what it was raised from, and the errors of a group."""
    seen: list[TracebackException] = [told]
    for each in seen:
        yield each
        seen += [next_ for next_ in (each.__cause__, each.__context__) if next_ is not None]
        seen += getattr(each, "exceptions", None) or ()


def _line_of(told: TracebackException, cell: str) -> int | None:
    """Return the last line of this cell in the traceback."""
    if getattr(told, "filename", None) == cell and told.lineno:
        return int(told.lineno)
    lines = [frame.lineno for frame in told.stack if frame.filename == cell]
    return lines[-1] if lines else None


def _is_ours(error: Exception) -> bool:
    """Tell whether an error says how a magic is used, or comes from one of ours."""
    from IPython.core.error import UsageError

    return isinstance(error, UsageError) or (
        # which is how they are shown in one line
        isinstance(error, HyperLlamaError) and hasattr(error, "_render_traceback_")
    )


def _bounded(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    head = LONGEST // 4
    return f"{text[:head]}\n[…]\n{text[head - LONGEST :]}"
