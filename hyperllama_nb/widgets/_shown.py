"""Where a monitor is displayed: a live view, or a picture where nobody could show one."""

import time
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hyperllama_nb.display.cells import cell_id, run_id
from hyperllama_nb.display.sinks import current_shell, display_bundle, in_kernel, new_display_id

if TYPE_CHECKING:
    from hyperllama_nb.widgets._live import Live

PICTURE = 5.0
"""Seconds between two pictures where there is no live view."""

LOST = "The monitor was live here, and was not stopped: `stop()` leaves a figure in its place."
"""What a file says where a live view was."""

Bundle = Mapping[str, Any]


class Shown:
    """The outputs of one monitor.

    A front end that says which cell it runs, as JupyterLab and Notebook do, gets widgets.
    Others get a picture that is renewed every 5 s and after each cell: programs that execute
    notebooks keep the state of every widget, which is 5 MB of plotly, and show none.
    `picture` returns the monitor's form without widgets, `live` makes the one with them.
    """

    def __init__(self, picture: Callable[[], Bundle], live: Callable[[], "Live"]) -> None:
        self._picture, self._make = picture, live
        self._ids: list[str] = []
        self._live: Live | None = None
        self._pictured = 0.0

    def open(self) -> None:
        """Put the monitor into one more output of the running cell."""
        if in_kernel() and cell_id() is not None:
            self._live = self._live or self._try()
        bundle = self._picture()
        if self._live is not None:
            bundle = {**self._live.view(), "text/plain": LOST}
        self._ids.append(new_display_id())
        display_bundle(bundle, {}, self._ids[-1])
        if in_kernel() and self._live is None and len(self._ids) == 1:
            _events().register("post_run_cell", self._after_cell)

    def update(self, text: str, window: int, *, now: bool = False) -> None:
        """Bring the outputs up to date; `now` does so however recent they are."""
        live = self._live  # another thread may end it
        if live is not None:
            live.update(text, window, now=now)
        elif self._ids and in_kernel() and (now or time.monotonic() > self._pictured + PICTURE):
            self._renew()

    def pause(self, *, on: bool) -> None:
        """Show that the monitor rests, or goes on."""
        if self._live is not None:
            self._live.strip.paused = on

    def keep(self) -> None:
        """Put the picture as it is into one more output, which stays as it is."""
        display_bundle(self._picture(), {}, new_display_id())

    def end(self) -> None:
        """Leave pictures in the place of what is live."""
        if self._ids and in_kernel():
            if self._live is None:
                _events().unregister("post_run_cell", self._after_cell)
            self._renew()
        self._ids.clear()
        live, self._live = self._live, None
        if live is not None:
            live.close()

    def _try(self) -> "Live | None":
        """Return the widgets; None where their libraries are not there."""
        try:
            return self._make()
        except ImportError:
            return None

    def _renew(self) -> None:
        self._pictured = time.monotonic()
        bundle = self._picture()
        for each in self._ids:
            display_bundle(bundle, {}, each, update=True)

    def _after_cell(self, _result: object) -> None:
        # Executing programs heed only messages that belong to the cell which runs.
        self._renew()


class Cells:
    """Which monitors the cells show, so that a cell that runs again ends those of the time before.

    Front ends do not tell a kernel that they have cleared an output.
    """

    def __init__(self) -> None:
        self._shown: dict[str, tuple[str, weakref.WeakSet[Any]]] = {}

    def take(self, monitor: Any) -> None:
        """Note that a monitor is displayed by the running cell, and stop what it replaces."""
        cell, run = cell_id(), run_id()
        if cell is None:
            return
        before, monitors = self._shown.get(cell, ("", weakref.WeakSet()))
        if before != run:
            for each in set(monitors) - {monitor}:
                each.stop()
            monitors = weakref.WeakSet()
        monitors.add(monitor)
        self._shown[cell] = (run, monitors)


def _events() -> Any:
    return current_shell().events
