"""Errors as a cell shows them: one line, and all of it by `%tb`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from hyperllama_nb.errors import HyperLlamaError

Error = TypeVar("Error", bound=Exception)


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Show our own errors as one line instead of a traceback; the cell still fails."""
    try:
        yield
    except HyperLlamaError as error:
        in_one_line(error)
        raise


def in_one_line(error: Error) -> Error:
    """Return the error, which IPython shows as one line if it is one of ours."""
    if isinstance(error, HyperLlamaError):
        error._render_traceback_ = lambda: _told(error)  # type: ignore[attr-defined]
    return error


def _told(error: HyperLlamaError) -> list[str]:
    # IPython asks in the same way when a cell fails and when the user asks for more with %tb, when
    # the error is not being handled but the last that was.
    if sys.exc_info()[1] is not error and getattr(sys, "last_value", None) is error:
        from IPython.core.getipython import get_ipython

        shell = get_ipython()
        if shell is not None:
            traceback = shell.InteractiveTB
            return [*traceback.structured_traceback(type(error), error, error.__traceback__)]
    return [f"{type(error).__name__}: {error}"]
