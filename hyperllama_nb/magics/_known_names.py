"""The names that a Tab can complete: models, conversations, files, variables."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperllama_nb.magics._magics import HyperLlamaMagics

FRESH = 3.0
"""Seconds for which names are good that had to be read from a disk or a socket."""

PATIENCE = 0.3
"""Seconds that a service may take to answer: a person waits at the keyboard."""


class KnownNames:
    """Finds names without starting anything, and without a failure: what is not there has none."""

    def __init__(
        self, magics: "HyperLlamaMagics", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._magics = magics
        self._clock = clock
        self._read: dict[str, tuple[float, list[str]]] = {}

    def models(self) -> list[str]:
        """Return the aliases and the models of the store, the newest first."""
        return [*self.aliases(), *self._fresh("models", _models)]

    def loaded(self) -> list[str]:
        """Return the models that a running service has loaded."""
        return self._fresh("loaded", _loaded)

    def catalog(self) -> list[str]:
        """Return what can be pulled by a short name."""
        from hyperllama_nb.models.catalog import ENTRIES

        return [name for entry in ENTRIES for name in (entry.name, *entry.aliases)]

    def backends(self) -> list[str]:
        """Return the backends that are installed, whether they can run here or not."""
        from importlib.metadata import entry_points

        return [point.name for point in entry_points(group="hyperllama_nb.backends")]

    def aliases(self) -> list[str]:
        """Return the short names of this kernel."""
        return [*self._magics.aliases]

    def settings(self) -> list[str]:
        """Return the names of the magics' settings."""
        return sorted(self._magics.traits(config=True))

    def chats(self) -> list[str]:
        """Return the names of the conversations."""
        return [*self._magics.conversations]

    def variables(self) -> list[str]:
        """Return the variables that a user made and that hold data."""
        shell: Any = self._magics.shell
        return [
            name
            for name, value in shell.user_ns.items()
            if not name.startswith("_")
            and name not in shell.user_ns_hidden
            and not isinstance(value, ModuleType | FunctionType)
        ]

    def files(self, typed: str) -> list[str]:
        """Return the paths that begin with what is typed; directories end in a slash."""
        head, slash, start = typed.rpartition("/")
        found: list[Path] = []
        with contextlib.suppress(OSError, RuntimeError):
            found = sorted(Path(head + slash or ".").expanduser().iterdir())
        return [
            f"{head}{slash}{path.name}{'/' if path.is_dir() else ''}"
            for path in found
            if start.startswith(".") or not path.name.startswith(".")
        ]

    def _fresh(self, kind: str, read: Callable[[], Iterable[str]]) -> list[str]:
        when, names = self._read.get(kind, (-FRESH, []))
        now = self._clock()
        if now - when >= FRESH:
            names = []
            with contextlib.suppress(Exception):
                names = [*read()]
            self._read[kind] = (now, names)
        return names


def _models() -> Iterable[str]:
    # The client is not imported for the usual case: it takes longer than a Tab should.
    if not os.environ.get("HYPERLLAMA_HOST"):
        from hyperllama_nb.models.store import Store

        return [manifest.name.display for manifest in Store().list()]
    from hyperllama_nb.client import Client

    with Client(start=False, timeout=PATIENCE) as client:
        return [model["model"] for model in client.list()["models"]]


def _loaded() -> Iterable[str]:
    from hyperllama_nb.client import Client, _base

    socket = _base.parse_host(None).socket
    if socket is not None and not socket.exists():
        return []
    with Client(start=False, timeout=PATIENCE) as client:
        return [engine["model"] for engine in client.status()["engines"]]
