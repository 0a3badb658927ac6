"""The cell that runs: its id, its run, and threads whose output goes into it."""

import contextvars
import threading
from collections.abc import Callable, Mapping
from typing import Any

from hyperllama_nb.display.sinks import current_shell


def cell_id() -> str | None:
    """Return the id of the running cell, None where the front end does not tell it."""
    found = (parent().get("metadata") or {}).get("cellId")
    return str(found) if found else None


def run_id() -> str:
    """Return what tells one run of a cell from the next, "" outside of a kernel."""
    return str((parent().get("header") or {}).get("msg_id", ""))


def parent() -> Mapping[str, Any]:
    """Return the message that runs the cell, empty where there is none.

    The shell is asked, which knows it in every thread of the cell; a kernel's own answer depends
    on the thread.
    """
    # a terminal's shell has no parent, and a kernel's none outside of a cell
    told: Callable[[], object] = getattr(current_shell(), "get_parent", lambda: None)
    found = told()
    return found if isinstance(found, Mapping) else {}


def thread_here(work: Callable[..., object], *args: Any, name: str) -> threading.Thread:
    """Return a thread, yet to be started, whose output goes where that of the caller goes.

    What is displayed belongs to the cell whose context it is displayed in. The thread ends with
    the process.
    """
    context = contextvars.copy_context()
    return threading.Thread(
        target=context.run, args=(work, *args), name=f"hyperllama-{name}", daemon=True
    )
