"""Where the models widget learns what there is: from the service, or else from the store."""

import threading
import time
from collections.abc import Mapping
from typing import Any

from hyperllama_nb.client import Client
from hyperllama_nb.client._base import parse_host
from hyperllama_nb.display.progress import Progress
from hyperllama_nb.display.tables import human_bytes
from hyperllama_nb.errors import HyperLlamaError
from hyperllama_nb.models.inventory import inventory
from hyperllama_nb.models.store import Store
from hyperllama_nb.widgets import _modelrows
from hyperllama_nb.widgets._actions import Action, figures
from hyperllama_nb.widgets._modelrows import Row

PLAN_AGE = 30.0
"""Seconds after which it is asked again what fits: other programs take memory, too."""

TIMEOUT = 10.0
"""Seconds that an answer may take: a service elsewhere may never say anything."""

_NOTHING: dict[str, Any] = {"models": [], "catalog": [], "unfinished": [], "disk": None}


class Source:
    """What was last seen of the models. It starts no service, holds none alive and wakes no engine.

    All methods may be called from any thread.
    """

    def __init__(self, host: str | None = None) -> None:
        self._host = host
        self._client = Client(host, start=False, timeout=TIMEOUT)
        self._looking = threading.Lock()
        self._seen: tuple[Mapping[str, Any], list[Any]] = (_NOTHING, [])
        self._plans: dict[str, Any] = {}
        self._planned: tuple[object, float] = (None, 0.0)
        self._free = ""
        self._closed = False
        self._pulls: dict[str, Progress] = {}
        self.head: dict[str, str] = {"service": "", "disk": "", "memory": ""}

    def look(self) -> None:
        """Ask the service; where the user's own does not run, read the store itself."""
        with self._looking:
            address = parse_host(self._host)
            if address.socket is None or address.socket.exists():
                try:
                    found = self._client.inventory()
                    self._follow(found["pulls"])
                    engines = self._client.status()["engines"]
                    self._plan(found, engines)
                    self._keep(found, engines, "running")
                    return
                except HyperLlamaError as error:
                    words = str(error)
                except RuntimeError:
                    if self._closed:  # by another thread, in the middle of a question
                        return
                    raise
            else:
                words = "not running"
            self._plans, self._planned, self._free = {}, (None, 0.0), ""
            self._keep(inventory(Store()) if address.own else self._seen[0], [], words)

    def _keep(self, found: Mapping[str, Any], engines: list[Any], service: str) -> None:
        self._seen = (found, engines)
        self.head = {"service": f"Service: {service}", "disk": _disk(found), "memory": self._free}

    def rows(self, actions: Mapping[str, Action]) -> list[Row]:
        """Return a row for each model, with what the widget does itself."""
        found, engines = self._seen
        return _modelrows.rows(found, engines, self._plans, actions)

    def close(self) -> None:
        """Close the connections; what asks at that moment finds nothing new."""
        self._closed = True
        self._client.close()

    def _follow(self, pulls: list[dict[str, Any]]) -> None:
        """Give each pull its words and figures; a rate needs more than one look."""
        before, self._pulls = self._pulls, {}
        for pull in pulls:
            progress = self._pulls[pull["source"]] = before.get(pull["source"]) or Progress()
            progress.update(pull)
            pull["shown"] = figures(progress)

    def _plan(self, found: Mapping[str, Any], engines: list[Any]) -> None:
        """Ask what fits, if there is a reason to ask again."""
        seen = (
            [(model["model"], model["digest"]) for model in found["models"]],
            [(engine["model"], engine["state"]) for engine in engines],
        )
        before, when = self._planned
        if seen == before and time.monotonic() - when < PLAN_AGE:
            return
        plan = self._client.plan()
        self._plans = {model["model"]: model for model in plan["models"]}
        self._planned = (seen, time.monotonic())
        parts = [f"{_share(plan['memory'])} of memory"]
        parts += [f"{_share(device)} of {device['name']}" for device in plan["devices"]]
        self._free = f"Free: {', '.join(parts)}"


def _disk(found: Mapping[str, Any]) -> str:
    """Return what the store uses of its disk, in words."""
    disk = found["disk"]
    if disk is None:
        return ""
    used = f"Store: {human_bytes(disk['models'])} of models"
    if disk["partial"]:
        used += f" and {human_bytes(disk['partial'])} of unfinished pulls"
    return used if disk["free"] is None else f"{used}, {human_bytes(disk['free'])} free on its disk"


def _share(place: Mapping[str, Any]) -> str:
    return f"{human_bytes(place['free'])} of {human_bytes(place['total'])}"
