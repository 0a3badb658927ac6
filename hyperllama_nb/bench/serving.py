"""The service whose engines are compared: this user's own, or one that is reached over TCP."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from hyperllama_nb.bench.drive import Stopped
from hyperllama_nb.bench.records import Target
from hyperllama_nb.bench.usage import Usage, watching
from hyperllama_nb.errors import ConflictError

if TYPE_CHECKING:
    from hyperllama_nb.client import Client
    from hyperllama_nb.client._stream import Lines

Engine = dict[str, Any]
"""A line of the service's status, as far as the door tells it."""

Phases = tuple[tuple[str, float], ...]

GONE = 60.0
"""Seconds that a service elsewhere gets to end an engine that is not wanted."""

KEPT = "1h"
"""How long an engine elsewhere may rest between two turns: no lease holds it."""


def serving(client: "Client") -> "Own":
    """Return the service that a client leads to, with what its door allows."""
    return Own(client) if client.address.startswith("unix:") else Elsewhere(client)


class Own:
    """The service behind a socket of this machine, which tells everything to its user."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._lines: Lines[Any] | None = None

    def status(self, model: str) -> dict[str, Any]:
        """Return the service's `version` and `backends`; raises ServiceError if it has none."""
        del model
        return self._client.status()

    def engines(self) -> list[Engine]:
        """Return the engines that are loaded."""
        return [*self._client.status()["engines"]]

    def clear(self) -> None:
        """Unload all engines; raises ConflictError if one is answering somebody."""
        engines = self.engines()
        for engine in engines:
            if engine.get("running") or engine.get("queued"):
                raise ConflictError(
                    f"{engine['model']} is answering somebody, and a comparison unloads all models "
                    "to give each target the machine. Wait for the answer, or stop it."
                )
        for engine in engines:
            self.unload(engine["model"])

    def unload(self, model: str) -> None:
        """Return when a model's engine is gone."""
        self._client.unload(model)

    def load(self, target: Target, began: Callable[[], None]) -> tuple[Engine, float, Phases]:
        """Load a target's model; return its engine, and the seconds that it took by phase.

        `began` is called when `cancel` can end it. Raises Stopped if that happened.
        """
        starts: list[tuple[str, float]] = []
        engine: Engine = {}
        options = {**target.options, "backend": target.backend}
        with self._client.load_progress(target.model, options=options) as lines:
            self._lines = lines
            began()
            for line in lines:
                phase = line.get("phase")
                if phase and (not starts or starts[-1][0] != phase):
                    starts.append((phase, line["elapsed"]))
                engine = line.get("engine") or engine
        if not engine:
            raise Stopped
        end = float(engine["elapsed"])
        ends = [start for _, start in starts[1:]] + [end]
        phases = tuple(
            (name, max(0.0, after - start))
            for (name, start), after in zip(starts, ends, strict=True)
        )
        return engine, end, phases

    def cancel(self) -> None:
        """End the load that is under way, from any thread."""
        lines = self._lines
        if lines is not None:
            lines.cancel()

    def watching(self, model: str, usage: Usage) -> AbstractContextManager[None]:
        """Sample what an engine uses for the duration of the block."""
        return watching(self._client, model, usage)


class Elsewhere(Own):
    """A service over TCP or behind Jupyter, whose private routes have no door.

    So it loads and unloads by the public ones, and knows neither phases nor use. An engine that
    somebody else holds cannot be ended; a comparison then does not begin.
    """

    def status(self, model: str) -> dict[str, Any]:
        """Return the backends that could run the model; raises ModelNotFoundError."""
        known = (self._client.show(model).get("hyperllama") or {}).get("backends") or {}
        backends = {name: told for name, told in known.items() if "error" not in told}
        return {"version": None, "backends": backends}

    def engines(self) -> list[Engine]:
        """Return the models that are loaded, with less said of each."""
        return [{"model": each.get("model") or each["name"], **each} for each in self._loaded()]

    def clear(self) -> None:
        """Unload all engines; raises ConflictError if one stays."""
        for engine in self.engines():
            self.unload(engine["model"])

    def unload(self, model: str) -> None:
        """Ask for the end of an engine and wait for it; raises ConflictError if it stays."""
        self._client.generate(model, keep_alive=0)
        end = time.monotonic() + GONE
        while self._named(model):
            if time.monotonic() > end:
                raise ConflictError(
                    f"{model} stays loaded at {self._client.address}, since somebody uses it, and "
                    "targets are compared one at a time. Compare when nobody does."
                )
            time.sleep(0.1)

    def load(self, target: Target, began: Callable[[], None]) -> tuple[Engine, float, Phases]:
        """Load a target's model; the seconds are those that it took as seen from here."""
        options = {**target.options, "backend": target.backend}
        start = time.perf_counter()
        with self._client.generate(
            target.model, stream=True, options=options, keep_alive=KEPT
        ) as lines:
            self._lines = lines
            began()
            for _ in lines:
                pass
            if lines.cancelled:
                raise Stopped
        seconds = time.perf_counter() - start
        engine = self._named(target.model)
        if not engine:
            raise ConflictError(
                f"{target.model} was unloaded at {self._client.address} as soon as it was there: "
                "somebody else uses this service. Compare when nobody does."
            )
        engine["backend"] = target.backend
        return engine, seconds, ()

    def watching(self, model: str, usage: Usage) -> AbstractContextManager[None]:
        """Do nothing: what an engine uses is told on its own machine only."""
        del model, usage
        return nullcontext()

    def _loaded(self) -> list[dict[str, Any]]:
        return [*self._client.ps()["models"]]

    def _named(self, model: str) -> Engine:
        names = {model, f"{model}:latest", model.removesuffix(":latest")}
        return next((each for each in self.engines() if each["model"] in names), {})
