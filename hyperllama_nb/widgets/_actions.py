"""One thing that is done to a model in the background: a pull, a load, a removal."""

import threading
from collections.abc import Callable
from queue import Empty
from typing import Any, Literal

from hyperllama_nb.client import Client, Record
from hyperllama_nb.client._stream import Lines
from hyperllama_nb.display.progress import Progress
from hyperllama_nb.errors import HyperLlamaError

Kind = Literal["pull", "load", "unload", "pin", "unpin", "remove"]

TICK = 0.5
"""Seconds between two looks at the clock while the service says nothing."""

_BEGINNINGS: dict[Kind, str] = {
    "pull": "pulling",
    "load": "loading",
    "unload": "unloading",
    "pin": "pinning",
    "unpin": "unpinning",
    "remove": "removing",
}

_DONE: dict[Kind, str] = {
    "pull": "{} is in the store.",
    "load": "{} is loaded.",
    "unload": "{} is unloaded.",
    "pin": "{} stays loaded until it is unpinned or unloaded.",
    "unpin": "{} stays loaded as long as usual.",
    "remove": "{} is removed from the store.",
}


class Action:
    """What is done to a model, and how far it is; `wait` returns when it has ended.

    `model` is what it is done to, as the caller wrote it; `options` are those of `Client.pull`.
    """

    def __init__(self, kind: Kind, model: str, options: dict[str, Any] | None = None) -> None:
        self.kind: Kind = kind
        self.model = model
        self.options = dict(options or {})
        self.shown = {**figures(Progress()), "text": _BEGINNINGS[kind]}
        self.error: HyperLlamaError | None = None
        self.cancelled = False
        self.running = True
        self._lines: Lines[Record] | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()

    @property
    def name(self) -> str:
        """Return the name that the model has or gets, as far as the caller told it."""
        return str(self.options.get("name") or self.model)

    def wait(self, timeout: float | None = None) -> None:
        """Return when it has ended and the widget's rows tell so; raises its error.

        Raises TimeoutError if it goes on after `timeout` seconds. An interrupt ends the wait alone;
        `cancel` ends what is waited for.
        """
        if not self._ended.wait(timeout):
            raise TimeoutError(f"After {timeout} s the {self.kind} of {self.model} goes on.")
        if self.error is not None:
            raise self.error

    def cancel(self) -> None:
        """End the connection: the service ends the pull, and keeps what was fetched."""
        with self._lock:
            self.cancelled = True
            if self._lines is not None:
                self._lines.cancel()

    def run(
        self, client: Client, changed: Callable[[], None], ended: "Callable[[Action], None]"
    ) -> None:
        """Do it; `changed` is called whenever there is something new to show, `ended` at last.

        It counts as running until `ended` has seen what came of it: no row is gone in between.
        """
        try:
            self._run(client, changed)
        except HyperLlamaError as error:
            self.error = error
        finally:
            try:
                ended(self)
            finally:
                self.running = False
                self._ended.set()

    @property
    def fetched(self) -> bool:
        """Tell whether any bytes of a pull have come."""
        return bool(self.shown["progress"]["done"])

    def outcome(self) -> str:
        """Return how it ended, in a sentence."""
        if self.error is not None:
            return f"The {self.kind} of {self.name} failed."
        if self.cancelled:
            return f"The {self.kind} of {self.name} was cancelled."
        return _DONE[self.kind].format(self.name)

    def __repr__(self) -> str:
        """Return what it is and how it stands, in one line."""
        how = "running" if self.running else self.outcome()
        return f"<Action {self.kind} {self.model}: {how}>"

    def _run(self, client: Client, changed: Callable[[], None]) -> None:
        match self.kind:
            case "pull":
                lines = client.pull(self.model, stream=True, **self.options)
                self._follow(lines, changed)
            case "load":
                self._follow(client.load_progress(self.model), changed)
            case "pin":
                if not client.pin(self.model)["loaded"]:
                    self._follow(client.load_progress(self.model, keep_alive=-1), changed)
            case "unpin":
                client.pin(self.model, pinned=False)
            case "unload":
                client.unload(self.model)
            case "remove":
                client.delete(self.model)

    def _follow(self, lines: "Lines[Record]", changed: Callable[[], None]) -> None:
        with self._lock:
            self._lines = lines
            if self.cancelled:
                lines.cancel()
        progress = Progress(_BEGINNINGS[self.kind])
        with lines:
            while True:
                try:
                    line = lines.poll(TICK)
                except Empty:
                    line = None
                else:
                    if line is None:
                        return
                    progress.update(line)
                self.shown = figures(progress)
                changed()


def figures(progress: Progress) -> dict[str, Any]:
    """Return the text of a progress, and its bytes, bytes a second and seconds left."""
    counts = {"done": progress.done, "total": progress.total}
    rates = {"rate": progress.rate, "left": progress.left}
    return {"text": progress.text(), "progress": {**counts, **rates}}
