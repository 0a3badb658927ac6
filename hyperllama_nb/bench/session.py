"""One comparison that can be watched, paused, stopped and extended while it runs."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hyperllama_nb import hardware
from hyperllama_nb.bench import rundir
from hyperllama_nb.bench.choice import Choice
from hyperllama_nb.bench.choosing import targets
from hyperllama_nb.bench.drive import Generator, Stopped
from hyperllama_nb.bench.experiment import Experiment, Outcome, Plan
from hyperllama_nb.bench.facts import described, facts, load_average
from hyperllama_nb.bench.fairness import Check, check
from hyperllama_nb.bench.known import Facts
from hyperllama_nb.bench.records import Cell, Load, Request
from hyperllama_nb.bench.schedule import schedule
from hyperllama_nb.bench.serving import serving
from hyperllama_nb.bench.summarising import summarise
from hyperllama_nb.errors import ConflictError, HyperLlamaError, RequestError

if TYPE_CHECKING:
    from hyperllama_nb.client import Client

State = Literal["ready", "running", "pausing", "paused", "stopping", "stopped", "done", "failed"]
Tell = Callable[[str], None]

REUSING = frozenset({"prefix", "turns"})
"""Workloads whose prompts begin alike: they measure a cache."""

_RUNNING = frozenset({"running", "pausing", "paused", "stopping"})


def _quiet(_: str) -> None:
    """Tell nobody."""


class Session:
    """One comparison: `run` works in the caller's thread, all else may come from any thread.

    A block that an end cut off stays on record and counts in no comparison; another one, later in
    the same seeded order, takes its place when `run` is called again. `state` says how it stands,
    `error` why it failed, and `version` grows with every record, load and change of state.
    """

    def __init__(self, client: "Client", choice: Choice, *, tell: Tell = _quiet) -> None:
        """Ask the service what there is and plan the comparison; `tell` hears where it is.

        Raises RequestError for a choice that cannot be measured, ModelNotFoundError, and
        ServiceError for a target where nobody answers.
        """
        self._client, self._tell = client, tell
        self.choice = choice
        self._service = serving(client)
        self._status = self._service.status(choice.model)
        found = targets(
            choice.specs,
            choice.model,
            service=client.address,
            backends=self._status["backends"],
            options=choice.sampling,
        )
        told = {target.name: described(client, target) for target in found}
        self._counts = any(target.kind == "service" for target in found)
        plan = Plan(found, choice.cells(), (), self._load, choice.seed, choice.sampling)
        self.outcome = Outcome(plan, engines=told)
        self._turn = threading.Condition()
        self._state: State = "ready"
        self._place, self._version = "", 0
        self._blocks = choice.blocks
        self._next = 0
        self._unwanted = False
        self._began: float | None = None
        self._busy: float | None = None
        self._generator: Generator | None = None
        self.error = ""
        self._order()

    @property
    def plan(self) -> Plan:
        """Return what is to be measured, with the order of all blocks planned now."""
        return self.outcome.plan

    @property
    def state(self) -> State:
        """Return how it stands."""
        return self._state

    @property
    def where(self) -> str:
        """Return where it is, for people; empty when it does not run."""
        if self._state not in _RUNNING or not self._place:
            return ""
        number = min(len(self.outcome.blocks) + 1, self._blocks)
        return f"block {number} of {self._blocks}: {self._place}"

    @property
    def version(self) -> int:
        """Return a number that grows with every record, load and change of state."""
        return self._version

    @property
    def blocks(self) -> int:
        """Return how many blocks are to be measured whole."""
        return self._blocks

    def run(self) -> Outcome:
        """Measure the blocks that are missing, and return what there is then.

        Ctrl-C and `stop` end it, and what was measured is kept. Raises ConflictError if it runs,
        and what went wrong if that left no block whole.
        """
        if not self._begin():
            return self.outcome
        try:
            self._measure()
        except (KeyboardInterrupt, Stopped) as end:
            word = "Stopped" if isinstance(end, Stopped) else "Interrupted"
            self._end("stopped", f"{word}: {self._whole()}, and only those count in comparisons.")
        except HyperLlamaError as error:
            self.error = str(error)
            self._end("failed", f"Ended early: {error} {self._whole()}.")
            if not self.outcome.blocks:
                raise
        except BaseException as error:
            self.error = f"{type(error).__name__}: {error}"
            self._end("failed", f"Ended early: {self.error}. {self._whole()}.")
            raise
        return self.outcome

    def pause(self) -> None:
        """Rest after the turn that runs (a target under a load); its engine stays loaded."""
        with self._turn:
            if self._state == "running":
                self._set("pausing")

    def resume(self) -> None:
        """Go on after `pause`."""
        with self._turn:
            if self._state in ("pausing", "paused"):
                self._set("running")

    def stop(self) -> None:
        """End the running turn at once; before `run`, let that return without a measurement."""
        with self._turn:
            if self._state == "ready":
                self._unwanted = True
                self._set("stopped")
            if self._state not in ("running", "pausing", "paused"):
                return
            self._set("stopping")
            generator = self._generator
        if generator is not None:
            generator.stop()
        self._service.cancel()

    def extend(self, blocks: int) -> None:
        """Plan more blocks of the same seeded order; after the end, `run` measures them."""
        if blocks < 1:
            raise RequestError(f"{blocks} more blocks are none. Ask for 1 or more.")
        with self._turn:
            self._blocks += blocks
            self._order()
            self.outcome.complete = False
            self._grow()

    def requests(self) -> list[Request]:
        """Return a copy of all records, those of the turn that runs included."""
        return list(self.outcome.requests)

    def checks(self) -> tuple[Check, ...]:
        """Return the rules of fairness, checked on what was measured until now."""
        found = self._copy()
        return check(self._facts(found), found.requests).checks

    def summary(self) -> dict[str, Any]:
        """Return what `summary.json` of a run has, of what was measured until now."""
        found = self._copy()
        rows = [vars(each) for each in check(self._facts(found), found.requests).checks]
        return summarise(found, rows, objectives=self.choice.objectives, same=self._same())

    def manifest(self) -> dict[str, Any]:
        """Return what `manifest.json` of a run has: the choice, the machine, and all facts."""
        machine, found = hardware.detect(), self._copy()
        known = self._facts(found).plain()
        told = ("backend", "launch", "device", "digest", "context_length", "batch_size")
        return {
            "environment": {
                "processor": machine.cpu_name,
                "cores": machine.cores,
                "memory": machine.memory_total,
                "accelerators": [device.name for device in machine.devices],
            },
            "versions": {
                "hyperllama_nb": self._status["version"],
                **{name: each.get("version") for name, each in self._status["backends"].items()},
            },
            "choice": self.choice.plain(),
            "targets": {
                target.name: {
                    "kind": target.kind,
                    "model": target.model,
                    "options": target.options,
                    **{name: found.engines.get(target.name, {}).get(name) for name in told},
                    "ignore_eos": bool(found.engines.get(target.name, {}).get("ignore_eos")),
                }
                for target in found.plan.targets
            },
            "facts": known,
            "schedule": {
                "seed": found.plan.seed,
                "order": [list(names) for names in found.plan.order],
                "cells": [cell.plain() for cell in found.plan.cells],
            },
        }

    def write(self, directory: Path) -> str | None:
        """Keep the run in a new directory; returns a sentence if its requests are not in Parquet.

        Raises ConflictError if the directory holds something.
        """
        return rundir.write(directory, self.manifest(), self.summary(), self.requests())

    # -- what the experiment asks ---------------------------------------------------------------

    def at(self, place: str) -> None:
        """Hear where the experiment is."""
        with self._turn:
            if self._state == "stopping":
                raise Stopped
            self._place = place
            self._grow()
        self._tell(self.where)

    def grew(self) -> None:
        """Hear of a new record or a new load."""
        with self._turn:
            self._grow()

    def rest(self) -> None:
        """Wait while it is paused."""
        with self._turn:
            if self._state == "pausing":
                self._set("paused")
            self._turn.wait_for(lambda: self._state != "paused")
            if self._state == "stopping":
                raise Stopped

    # -- its own --------------------------------------------------------------------------------

    def _begin(self) -> bool:
        with self._turn:
            if self._state in _RUNNING:
                raise ConflictError("This comparison runs already. Wait for it, or stop it.")
            if self._unwanted:
                self._unwanted = False
                return False
            self.error, self.outcome.note = "", ""
            self._order()
            if self._began is None:
                self._began, self._busy = time.monotonic(), load_average()
            self._set("running")
            return True

    def _measure(self) -> None:
        since = time.monotonic() - (self._began or 0.0)
        with Generator(headers=self._client.headers, since=since) as generator:
            experiment = Experiment(self._service, self.outcome, generator, self)
            with self._turn:
                self._generator = generator
            try:
                while self._go_on():
                    experiment.block(self._next - 1)
            finally:
                with self._turn:
                    self._generator = None

    def _go_on(self) -> bool:
        """Take the next block; with none left it is done, and no `extend` comes in between."""
        with self._turn:
            if self._state == "stopping":
                raise Stopped
            if len(self.outcome.blocks) >= self._blocks:
                self.outcome.complete = True
                self._set("done")
                return False
            self._next += 1
            return True

    def _order(self) -> None:
        """Plan so many blocks that all that are wanted can become whole."""
        plan = self.outcome.plan
        count = self._next + self._blocks - len(self.outcome.blocks)
        names, cells = [each.name for each in plan.targets], [each.name for each in plan.cells]
        order = schedule(names, cells, max(count, self._next, 1), self.choice.seed).order
        self.outcome.plan = replace(plan, order=order)

    def _load(self, cell: Cell, block: int) -> Load:
        return self.choice.load(cell, block, self._count if self._counts else None)

    def _count(self, text: str) -> int:
        return len(self._client.tokenize(self.choice.model, text, start=True))

    def _facts(self, found: Outcome) -> Facts:
        fresh = self.choice.workload not in REUSING
        return facts(found, self._status, self._busy, fresh_prompts=fresh)

    def _same(self) -> tuple[str, str] | None:
        """Return the two names of the engine that is measured twice for the noise floor."""
        if not self.choice.noise_floor:
            return None
        names = [target.name for target in self.plan.targets]
        specs = self.choice.specs
        return names[0], names[specs.index(specs[0], 1)]

    def _copy(self) -> Outcome:
        """Return the outcome as it is now, which does not change while it is looked at."""
        now = self.outcome
        return replace(
            now,
            requests=list(now.requests),
            loads=list(now.loads),
            engines=dict(now.engines),
            usage=dict(now.usage),
            resident={name: set(others) for name, others in dict(now.resident).items()},
            partial=set(now.partial),
        )

    def _whole(self) -> str:
        return f"{len(self.outcome.blocks)} of {self._blocks} blocks were measured whole"

    def _end(self, state: State, note: str) -> None:
        with self._turn:
            self.outcome.note = note
            self.outcome.complete = False
            self._set(state)

    def _set(self, state: State) -> None:
        self._state = state
        self._grow()
        self._turn.notify_all()

    def _grow(self) -> None:
        self._version += 1
