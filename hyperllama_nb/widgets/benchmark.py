"""The widget of benchmarks: a comparison that is chosen, started, paused and seen live."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any, Self

import traitlets

from hyperllama_nb.bench.choice import Choice
from hyperllama_nb.bench.metrics import METRICS
from hyperllama_nb.bench.records import Request
from hyperllama_nb.bench.session import Session
from hyperllama_nb.bench.throughput import Objectives
from hyperllama_nb.client import Client, client
from hyperllama_nb.errors import HyperLlamaError, RequestError
from hyperllama_nb.models.catalog import DEFAULT_MODEL
from hyperllama_nb.runtime import last_model
from hyperllama_nb.widgets import _benchmarkform as form
from hyperllama_nb.widgets import _benchmarkwords as words
from hyperllama_nb.widgets._base import Widget, css, esm
from hyperllama_nb.widgets._benchmarkparts import CHOSEN, STYLE, Look, Parts, kept
from hyperllama_nb.widgets._benchmarkrun import Comparing

INTERVAL = 0.2
"""Seconds between two messages to the front end, at least."""

SHARE = 0.05
"""Of a processor that showing may take while it measures: a load must not meet its own pictures."""

REST = 0.5
"""Seconds from what is done in the view to the kept form that shows it."""

PATIENCE = 10.0
"""Seconds that a run gets to end when the widget ends."""


class Benchmark(Widget):
    """A comparison of engines, with the controls to run it and its numbers as they come.

    The arguments are the fields of `bench.choice.Choice`; without `targets` all backends of the
    service are compared; `quick` asks for short prompts and answers in few blocks. `host` is where
    the service is, as for `Client`. Showing it starts nothing; `start` works in the background, in
    threads that need no free kernel.

    Example: `b = Benchmark("smollm2:135m", ["max", "llamacpp"]); b.start().wait(); b.summary`
    """

    _esm = esm("benchmark.js")
    _css = css("benchmark.css") + STYLE
    _state = traitlets.Dict().tag(sync=True)
    """What a view shows until it has said that it is there, and got the state of that moment."""

    def __init__(
        self,
        model: str | None = None,
        targets: Sequence[str] | None = None,
        *,
        concurrency: Sequence[int] = (1, 4),
        objectives: Objectives | None = None,
        quick: bool = False,
        host: str | None = None,
        **fields: Any,
    ) -> None:
        known = form.known(host)
        make = Choice.quick if quick else Choice
        choice = make(
            model or last_model() or DEFAULT_MODEL,
            tuple(known["backends"] if targets is None else targets),
            concurrency=tuple(concurrency),
            objectives=objectives or Objectives(),
            **fields,
        )
        self._setup = form.Setup(choice, known)
        self._look = Look(objectives=choice.objectives)
        self._refused = ""
        self._comparing = Comparing(
            client() if host is None else Client(host),
            lambda work: self._start(work, name="benchmark"),
            self._finished,
        )
        self._parts: Parts | None = None
        self._views: set[str] = set()
        self._sent: dict[str, Any] = {}
        self._when = ""
        self._settling = False
        super().__init__()
        self._state = self._whole()

    @property
    def session(self) -> Session | None:
        """Return the comparison that runs or ran last; None before the first."""
        return self._comparing.session

    @property
    def requests(self) -> list[Request]:
        """Return a record of each request so far, those of the turn that runs included."""
        return [] if self.session is None else self.session.requests()

    @property
    def summary(self) -> dict[str, Any]:
        """Return what `summary.json` of a run has; empty before the first start."""
        return {} if self.session is None else self.session.summary()

    @property
    def running(self) -> bool:
        """Tell whether it measures, or rests between two turns."""
        return self._comparing.running

    @property
    def objectives(self) -> Objectives:
        """Return the limits within which a request is good; they can be set at any time."""
        return self._look.objectives

    @objectives.setter
    def objectives(self, objectives: Objectives) -> None:
        self._limit(objectives)
        self._push()
        if not self.running:
            self._refresh()

    def _limit(self, objectives: Objectives) -> None:
        self._look = replace(self._look, objectives=objectives)
        self._setup.choice = replace(self._setup.choice, objectives=objectives)
        if self.session is not None:
            self.session.choice = replace(self.session.choice, objectives=objectives)

    def start(self) -> Self:
        """Begin to measure, in the background; nothing happens if that is going on.

        A comparison unloads the models of the service. What goes wrong is told in the view, and
        raised by `wait`. Raises RequestError for a choice that cannot be measured.
        """
        self._setup.check()
        self._begin(lambda: self._comparing.begin(self._setup.choice))
        return self

    def pause(self) -> None:
        """Rest after the turn that runs (a target under a load); the engine stays loaded."""
        self._comparing.pause()
        self._push()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._comparing.resume()
        self._push()

    def stop(self) -> None:
        """End it at once; what was measured is kept."""
        self._comparing.stop()
        self._push()

    def extend(self, blocks: int = 3) -> None:
        """Measure more blocks than planned; one that has ended goes on."""
        if blocks < 1:
            raise RequestError(f"{blocks} more blocks are none. Ask for 1 or more.")
        if self.session is None:
            choice = self._setup.choice
            self._setup.choice = replace(choice, blocks=choice.blocks + blocks)
            self._push()
        else:
            self._begin(lambda: self._comparing.extend(blocks))

    def wait(self, timeout: float | None = None) -> None:
        """Return when it has ended; raises the error that ended it.

        Raises TimeoutError if it goes on after `timeout` seconds. An interrupt ends the wait alone;
        `stop` ends what is waited for.
        """
        self._comparing.wait(timeout)

    def write(self, directory: "str | PathLike[str]") -> str | None:
        """Keep the run in a new directory; returns a sentence if its requests are not in Parquet.

        Raises ConflictError if something is there already, RequestError before the first start.
        """
        if self.session is None:
            raise RequestError("There is no run to keep. Make one: `start()`, then `wait()`.")
        return self.session.write(Path(directory))

    def finish(self) -> None:
        """Stop what runs, end the live view, and leave the static form in its place."""
        if self._ended:
            return
        if self.running:
            self.stop()
            self._comparing.over.wait(PATIENCE)
        super().finish()

    # -- what is shown --------------------------------------------------------------------------

    def _begin(self, begin: Callable[[], object]) -> None:
        """Begin to measure, and to show it unless that is going on."""
        running, self._refused = self.running, ""
        begin()
        if self.running and not running:
            self._when = datetime.now(UTC).astimezone().strftime(", %Y-%m-%d %H:%M")
            self._start(self._follow, name="benchmark-view")
        self._push()

    def _follow(self) -> None:
        """Show what is new while it runs, to whoever looks."""
        seen, blocks, rest, over = None, 0, INTERVAL, self._comparing.over
        while not over.wait(rest):
            rest, session = INTERVAL, self.session
            now = (session, None if session is None else session.version)
            if session is None or now == seen:
                continue
            seen, began = now, time.perf_counter()
            if self._views:
                self._push()
            if len(session.outcome.blocks) != blocks:
                blocks = len(session.outcome.blocks)
                self._refresh()
            rest = max(INTERVAL, (time.perf_counter() - began) / SHARE)

    def _finished(self) -> None:
        self._push()
        self._refresh()

    def _received(self, message: Mapping[str, Any]) -> None:
        try:
            self._take(message)
        except HyperLlamaError as error:
            self._refused = str(error)
        self._push()
        with self._lock:
            # a run brings the kept form up to date by itself
            if self.running or self._settling:
                return
            self._settling = True
        self._start(self._settle, name="benchmark-kept")

    def _settle(self) -> None:
        """Bring the kept form up to date, once for many movements of a slider."""
        time.sleep(REST)
        self._settling = False
        self._refresh()

    def _take(self, message: Mapping[str, Any]) -> None:
        match message.get("type"):
            case "visible":
                self._views.add(str(message.get("view")))
                with self._lock:
                    self._show(self._whole())
            case "hidden":
                self._views.discard(str(message.get("view")))
            case "form":
                self._setup.take(message["form"])
            case "look":
                if message.get("metric") in CHOSEN:
                    self._look = replace(self._look, metric=message["metric"])
                self._look = replace(self._look, cell=str(message.get("cell")))
            case "objectives":
                self._limit(form.limits(message, self.objectives))
            case ("start" | "pause" | "resume" | "stop" | "extend") as method:
                getattr(self, method)()

    def _made(self) -> tuple[Look, list[str], dict[str, str]]:
        """Return what is looked at, what loads there are, and the fragments that show them."""
        session = self.session
        if session is None:
            return self._look, [], {}
        if self._parts is None or self._parts.session is not session:
            self._parts = Parts(session)
        cells = [cell.name for cell in session.plan.cells]
        look = self._look if self._look.cell in cells else replace(self._look, cell=cells[0])
        return look, cells, self._parts.made(look)

    def _whole(self) -> dict[str, Any]:
        """Return all that a view shows."""
        look, cells, parts = self._made()
        told = self._refused or str(self._comparing.error or "")
        attained = {} if self._parts is None else self._parts.attained(look)
        self._sent = {
            **self._setup.shown(),
            "status": words.status(self._comparing.state, self.session, told),
            "metrics": [[name, METRICS[name].label] for name in CHOSEN],
            "cells": cells,
            "look": {"metric": look.metric, "cell": look.cell},
            "objectives": form.milliseconds(look.objectives),
            "told": words.within(attained, look.cell, look.objectives),
            "parts": parts,
        }
        return self._sent

    def _push(self) -> None:
        """Send what has changed."""
        with self._lock:
            sent, whole = self._sent, self._whole()
            changed = {name: each for name, each in whole.items() if sent.get(name) != each}
            if "parts" in changed:
                before, now = sent["parts"], whole["parts"]
                names = before.keys() | now.keys()
                changed["parts"] = {
                    name: now.get(name, "") for name in names if before.get(name) != now.get(name)
                }
            self._show(changed)

    def _show(self, changed: Mapping[str, Any]) -> None:
        """Send some of what a view shows, each fragment in a message of its own: some are long."""
        fields = {name: each for name, each in changed.items() if name != "parts"}
        if fields:
            self._tell("show", **fields)
        for name, html in changed.get("parts", {}).items():
            self._tell("show", parts={name: html})

    def _caption(self) -> str:
        return words.caption(self._setup.choice, self.session)

    def _text(self) -> str:
        self._made()
        found = None if self._parts is None else self._parts.judged(self._look.objectives)
        return words.text(self._setup.choice, found)

    def _html(self) -> str:
        with self._lock:
            _, _, parts = self._made()
        return kept(parts, f"Benchmark of {self._caption()}{self._when}")
