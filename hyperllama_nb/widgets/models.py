"""The widget of models: what there is, what fits, and what can be done with each."""

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any

import traitlets

from hyperllama_nb.client import Client, client
from hyperllama_nb.display.tables import Table
from hyperllama_nb.errors import ConflictError, HyperLlamaError, RequestError
from hyperllama_nb.widgets import _modelrows
from hyperllama_nb.widgets._actions import Action, Kind
from hyperllama_nb.widgets._base import Widget, css, esm
from hyperllama_nb.widgets._modelrows import Row, key
from hyperllama_nb.widgets._modelsource import Source

INTERVAL = 2.0
"""Seconds between two looks at the service while nothing happens."""

BUSY_INTERVAL = 0.5
"""Seconds between two looks while something loads or is pulled."""

SEND_INTERVAL = 0.2
"""Seconds between two messages to the front end, at least."""

VIEW_AGE = 600.0
"""Seconds after which a view that says nothing is gone: a closed page does not take its leave."""

_KEPT = ("name", "state", "pinned", "verdict", "error")
"""What a saved notebook should have right: not the figures, which never stand still."""


class Models(Widget):
    """The models of the store and of the catalog, as a table that can be worked with.

    Each method returns at once and works in the background; `models.pull("…").wait()` waits, and
    raises what went wrong. `host` is where the service is, as for `Client`. Showing the widget
    starts no service and wakes no engine; the first action starts what it needs.

    Example: `models = Models(); models.pull("smollm2:135m").wait(); models.rows`
    """

    _esm = esm("models.js")
    _css = css("models.css")
    _state = traitlets.Dict().tag(sync=True)
    """What a view shows until it has said that it is there, and got the state of that moment."""

    def __init__(self, host: str | None = None) -> None:
        self._client = client() if host is None else Client(host)
        self._source = Source(host)
        self._actions: dict[str, Action] = {}
        self._notice: dict[str, Any] = {"notice": "", "wrong": False}
        self._views: dict[str, float] = {}
        self._sent: dict[str, Row] = {}
        self._sent_head: dict[str, Any] = {}
        self._saved: tuple[object, list[Row], str] = (None, [], "")
        self._watcher: threading.Thread | None = None
        self._wake = threading.Event()
        super().__init__()
        self.refresh()

    @property
    def rows(self) -> list[Row]:
        """Return a dict for each model, as of the last look; sizes in bytes, None where unknown."""
        with self._lock:
            return self._source.rows(self._actions)

    def pull(self, model: str, **options: Any) -> Action:
        """Fetch a model, or go on with a pull that broke off; `options` as for `Client.pull`."""
        return self._begin("pull", model, options)

    def cancel(self, model: str) -> None:
        """End a pull or a load of this widget; what was fetched is kept for the next pull."""
        action = self._actions.get(key(model))
        if action is not None and action.running:
            action.cancel()

    def load(self, model: str) -> Action:
        """Load a model."""
        return self._begin("load", model)

    def unload(self, model: str) -> Action:
        """End a model's engine, after the requests that it is answering; ends a load, too."""
        action = self._actions.get(key(model))
        if action is not None and action.kind in ("load", "pin"):
            action.cancel()
        return self._begin("unload", model)

    def pin(self, model: str) -> Action:
        """Keep a model loaded, however long nobody uses it; loads it if it is not."""
        return self._begin("pin", model)

    def unpin(self, model: str) -> Action:
        """Keep a loaded model as long as usual from now on."""
        return self._begin("unpin", model)

    def remove(self, model: str) -> Action:
        """Remove a model from the store, and the files that only it uses."""
        return self._begin("remove", model)

    def refresh(self) -> None:
        """Look at the store and the service now."""
        self._source.look()
        with self._lock:
            if not self._ended:
                self._state = self._whole()
            self._push()
        self._save()

    def finish(self) -> None:
        """Cancel what runs, end the live view, and leave the static form in its place."""
        if self._ended:
            return
        for action in [*self._actions.values()]:
            if action.running:
                action.cancel()
        super().finish()
        self._wake.set()
        self._source.close()

    # -- what is done --------------------------------------------------------------------------

    def _begin(self, kind: Kind, model: str, options: dict[str, Any] | None = None) -> Action:
        action = Action(kind, model.strip(), options)
        if not action.model:
            raise RequestError("No model is named. Give its name, such as 'smollm2:135m'.")
        name = key(action.name)
        with self._lock:
            before = self._actions.get(name)
            if before is not None and before.running and not before.cancelled:
                if before.kind == kind:
                    return before
                raise ConflictError(
                    f"The {before.kind} of {before.name} has not ended. Wait for it, or cancel it."
                )
            self._actions[name] = action
            self._notice = {"notice": "", "wrong": False}
        self._start(action.run, self._client, self._wake.set, self._done, name=f"models-{kind}")
        self._wake.set()
        return action

    def _done(self, action: Action) -> None:
        """Show how an action ended."""
        self._source.look()
        name = key(action.name)
        with self._lock:
            action.running = False
            if self._actions.get(name) is action:
                del self._actions[name]
                known = name in {key(row["name"]) for row in self.rows}
                broken = action.kind == "pull" and (action.cancelled or action.fetched)
                if (action.error is not None and known) or (broken and not known):
                    self._actions[name] = action  # its row says how it ended
                    words = action.outcome()
                else:
                    words = str(action.error or action.outcome())
                self._notice = {"notice": words, "wrong": action.error is not None}
        self._wake.set()
        self._save()

    def _resume(self, name: str) -> None:
        """Go on with a pull, as it was asked for."""
        action = self._actions.get(key(name))
        if action is not None and action.kind == "pull":
            self.pull(action.model, **action.options)
            return
        kept = next((row["kept"] for row in self.rows if row["name"] == name), None)
        if kept is None:
            self.pull(name)
            return
        options = {option: kept[option] for option in ("insecure", "quantize") if kept[option]}
        # By its name, so that it stays in its row, where the focus is.
        self.pull(kept["source"], name=kept["model"], **options)

    def _dismiss(self, name: str) -> None:
        with self._lock:
            action = self._actions.get(key(name))
            if action is not None and not action.running:
                del self._actions[key(name)]
        self._wake.set()

    # -- what is shown -------------------------------------------------------------------------

    def _received(self, message: Mapping[str, Any]) -> None:
        try:
            self._take(message)
        except HyperLlamaError as error:
            with self._lock:
                self._notice = {"notice": str(error), "wrong": True}
            self._wake.set()

    def _take(self, message: Mapping[str, Any]) -> None:
        name = str(message.get("name", ""))
        match message.get("type"):
            case "visible":
                with self._lock:
                    self._views[str(message.get("view"))] = time.monotonic() + VIEW_AGE
                    self._tell("state", **self._whole())
                self._watch()
            case "hidden":
                with self._lock:
                    self._views.pop(str(message.get("view")), None)
            case "resume":
                self._resume(name)
            case "dismiss":
                self._dismiss(name)
            case ("pull" | "cancel" | "load" | "unload" | "pin" | "unpin" | "remove") as method:
                getattr(self, method)(name)

    def _whole(self) -> dict[str, Any]:
        """Return all that a view shows."""
        found = self.rows
        self._sent, self._sent_head = {row["name"]: row for row in found}, self._head()
        return {"rows": found, "head": self._sent_head}

    def _head(self) -> dict[str, Any]:
        return {**self._source.head, **self._notice}

    def _push(self) -> None:
        """Send the rows that have changed."""
        with self._lock:
            sent, head = self._sent, self._sent_head
            whole = self._whole()
            changed = [row for row in whole["rows"] if sent.get(row["name"]) != row]
            order = [*self._sent]
            if changed or order != [*sent] or whole["head"] != head:
                self._tell("rows", rows=changed, order=order, head=whole["head"])

    def _watch(self) -> None:
        """Begin to look at the service, unless that is going on."""
        with self._lock:
            if self._watcher is None and not self._ended:
                self._watcher = self._start(self._go_on, name="models")

    def _go_on(self) -> None:
        """Look at the service while anybody looks at the widget."""
        due = 0.0
        while True:
            with self._lock:
                now = time.monotonic()
                self._views = {view: until for view, until in self._views.items() if until > now}
                if self._ended or not self._views:
                    self._watcher = None
                    return
            if now >= due:
                self._source.look()
                self._save()
                due = time.monotonic() + (BUSY_INTERVAL if self._busy() else INTERVAL)
            self._push()
            time.sleep(SEND_INTERVAL)
            self._wake.wait(max(0.0, due - time.monotonic()))
            self._wake.clear()

    def _busy(self) -> bool:
        return any(row["state"] in ("pulling", "loading", "unloading") for row in self.rows)

    def _save(self) -> None:
        """Bring the static form up to date where more than figures changed."""
        found = self.rows
        seen = [[row[field] for field in _KEPT] for row in found]
        with self._lock:
            if seen == self._saved[0]:
                return
            now = datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M")
            self._saved = (seen, found, f"Models, {now}")
        self._refresh()

    def _caption(self) -> str:
        found = self.rows
        stored = sum(row["stored"] for row in found)
        loaded = sum(row["state"] in ("loaded", "asleep") for row in found)
        return f"{stored} in the store, {loaded} loaded"

    def _text(self) -> str:
        return "\n".join([str(self._table()), *self._lines()])

    def _html(self) -> str:
        return f"{self._table()._repr_html_()}<p>{'<br>'.join(map(escape, self._lines()))}</p>"

    def _table(self) -> Table:
        _, found, title = self._saved
        return _modelrows.table(found, title)

    def _lines(self) -> list[str]:
        return [line for line in self._source.head.values() if line]
