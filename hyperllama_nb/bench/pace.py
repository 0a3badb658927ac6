"""How a run stands and what is wanted of it, between the thread that runs it and all others."""

import threading
from typing import Literal

from hyperllama_nb.bench.drive import Stopped
from hyperllama_nb.errors import ConflictError

State = Literal["ready", "running", "pausing", "paused", "stopping", "stopped", "done", "failed"]

_RUNNING = frozenset({"running", "pausing", "paused", "stopping"})


class Pace:
    """A state that others may ask to change: rest, go on, end. All methods are safe in threads.

    `version` grows with every change that somebody may want to see.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._state: State = "ready"
        self._place, self._version = "", 0
        self._unwanted = False

    @property
    def state(self) -> State:
        """Return how it stands."""
        return self._state

    @property
    def version(self) -> int:
        """Return a number that grows with every record, load and change of state."""
        return self._version

    @property
    def place(self) -> str:
        """Return where it is; empty when it does not run."""
        return self._place if self._state in _RUNNING else ""

    def pause(self) -> None:
        """Rest after the turn that runs (a target under a load); its engine stays loaded."""
        with self._changed:
            if self._state == "running":
                self._set("pausing")

    def resume(self) -> None:
        """Go on after `pause`."""
        with self._changed:
            if self._state in ("pausing", "paused"):
                self._set("running")

    def stop(self) -> None:
        """End the running turn at once; before `run`, let that return without a measurement."""
        with self._changed:
            if self._state == "ready":
                self._unwanted = True
                self._set("stopped")
            elif self._state in ("running", "pausing", "paused"):
                self._set("stopping")

    # -- for the thread that runs it ------------------------------------------------------------

    def at(self, place: str) -> None:
        """Hear where the run is; raises Stopped to end it."""
        with self._changed:
            if self._state == "stopping":
                raise Stopped
            self._place = place
            self._version += 1

    def grew(self) -> None:
        """Hear of something new to see."""
        with self._changed:
            self._version += 1

    def rest(self) -> None:
        """Wait while it is paused; raises Stopped to end it."""
        with self._changed:
            if self._state == "pausing":
                self._set("paused")
            self._changed.wait_for(lambda: self._state != "paused")
            if self._state == "stopping":
                raise Stopped

    def _begin(self) -> bool:
        """Begin to run; False if that is not wanted any more. Raises ConflictError if it runs."""
        with self._changed:
            if self._state in _RUNNING:
                raise ConflictError("This comparison runs already. Wait for it, or stop it.")
            if self._unwanted:
                self._unwanted = False
                return False
            self._place = ""
            self._set("running")
            return True

    def _set(self, state: State) -> None:
        with self._changed:
            self._state = state
            self._version += 1
            self._changed.notify_all()
