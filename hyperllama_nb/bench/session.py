"""One comparison that can be watched, paused, stopped and extended while it runs."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperllama_nb.bench import rundir
from hyperllama_nb.bench.choice import Choice
from hyperllama_nb.bench.choosing import targets
from hyperllama_nb.bench.drive import Generator, Stopped
from hyperllama_nb.bench.experiment import Experiment, Outcome, Plan
from hyperllama_nb.bench.facts import described, facts, load_average
from hyperllama_nb.bench.fairness import Check, check
from hyperllama_nb.bench.known import Facts
from hyperllama_nb.bench.manifest import manifest
from hyperllama_nb.bench.pace import Pace, State
from hyperllama_nb.bench.records import Cell, Load, Request
from hyperllama_nb.bench.schedule import schedule
from hyperllama_nb.bench.serving import serving
from hyperllama_nb.bench.summarising import summarise
from hyperllama_nb.errors import HyperLlamaError, RequestError

if TYPE_CHECKING:
    from hyperllama_nb.client import Client

Tell = Callable[[str], None]

REUSING = frozenset({"prefix", "turns"})
"""Workloads whose prompts begin alike: they measure a cache."""


def _quiet(_: str) -> None:
    """Tell nobody."""


class Session(Pace):
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
        super().__init__()
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
        self._blocks, self._begun = choice.blocks, 0
        self._clock: float | None = None
        self._busy: float | None = None
        self._generator: Generator | None = None
        self.error = ""
        self._order()

    @property
    def plan(self) -> Plan:
        """Return what is to be measured, with the order of all blocks planned now."""
        return self.outcome.plan

    @property
    def where(self) -> str:
        """Return where it is, for people; empty when it does not run."""
        if not self.place:
            return ""
        number = min(len(self.outcome.blocks) + 1, self._blocks)
        return f"block {number} of {self._blocks}: {self.place}"

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
        self.error, self.outcome.note = "", ""
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

    def stop(self) -> None:
        """End the running turn at once; before `run`, let that return without a measurement."""
        super().stop()
        if self.state == "stopping":
            if (generator := self._generator) is not None:
                generator.stop()
            self._service.cancel()

    def extend(self, blocks: int) -> None:
        """Plan more blocks of the same seeded order; after the end, `run` measures them."""
        if blocks < 1:
            raise RequestError(f"{blocks} more blocks are none. Ask for 1 or more.")
        with self._changed:
            self._blocks += blocks
            self._order()
            self.outcome.complete = False
            self.grew()

    def requests(self) -> list[Request]:
        """Return a copy of all records, those of the turn that runs included."""
        return list(self.outcome.requests)

    def checks(self) -> tuple[Check, ...]:
        """Return the rules of fairness, checked on what was measured until now."""
        return self._checked(self.outcome.copy())

    def summary(self) -> dict[str, Any]:
        """Return what `summary.json` of a run has, of what was measured until now."""
        found = self.outcome.copy()
        rows = [vars(each) for each in self._checked(found)]
        return summarise(found, rows, objectives=self.choice.objectives, same=self._same())

    def manifest(self) -> dict[str, Any]:
        """Return what `manifest.json` of a run has: the choice, the machine, and all facts."""
        found = self.outcome.copy()
        return manifest(self.choice, found, self._status, self._facts(found))

    def write(self, directory: Path) -> str | None:
        """Keep the run in a new directory; returns a sentence if its requests are not in Parquet.

        Raises ConflictError if the directory holds something.
        """
        return rundir.write(directory, self.manifest(), self.summary(), self.requests())

    def at(self, place: str) -> None:
        """Hear where the experiment is, and tell it."""
        super().at(place)
        self._tell(self.where)

    def _measure(self) -> None:
        if self._clock is None:
            self._clock, self._busy = time.monotonic(), load_average()
        since = time.monotonic() - self._clock
        with Generator(headers=self._client.headers, since=since) as generator:
            self._generator = generator
            experiment = Experiment(self._service, self.outcome, generator, self)
            try:
                while (block := self._next()) is not None:
                    experiment.block(block)
            finally:
                self._generator = None

    def _next(self) -> int | None:
        """Take the next block; with none left it is done, and no `extend` comes in between."""
        with self._changed:
            if self.state == "stopping":
                raise Stopped
            self._order()
            if len(self.outcome.blocks) >= self._blocks:
                self.outcome.complete = True
                self._set("done")
                return None
            self._begun += 1
            return self._begun - 1

    def _order(self) -> None:
        """Plan so many blocks that all that are wanted can become whole."""
        plan = self.outcome.plan
        count = self._begun + self._blocks - len(self.outcome.blocks)
        names = [target.name for target in plan.targets]
        self.outcome.plan = replace(plan, order=schedule(names, count, self.choice.seed))

    def _load(self, cell: Cell, block: int) -> Load:
        return self.choice.load(cell, block, self._count if self._counts else None)

    def _count(self, text: str) -> int:
        return len(self._client.tokenize(self.choice.model, text, start=True))

    def _checked(self, found: Outcome) -> tuple[Check, ...]:
        return check(self._facts(found), found.requests).checks

    def _facts(self, found: Outcome) -> Facts:
        fresh = self.choice.workload not in REUSING
        return facts(found, self._status, self._busy, fresh_prompts=fresh)

    def _same(self) -> tuple[str, str] | None:
        """Return the two names of the engine that is measured twice for the noise floor."""
        if not self.choice.noise_floor:
            return None
        names, specs = [target.name for target in self.plan.targets], self.choice.specs
        return names[0], names[specs.index(specs[0], 1)]

    def _whole(self) -> str:
        return f"{len(self.outcome.blocks)} of {self._blocks} blocks were measured whole"

    def _end(self, state: State, note: str) -> None:
        self.outcome.note, self.outcome.complete = note, False
        self._set(state)
