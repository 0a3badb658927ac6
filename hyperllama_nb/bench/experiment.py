"""One experiment: all targets under all loads, in blocks whose order a seed mixes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hyperllama_nb.bench.records import Cell, Load, Request, Target
from hyperllama_nb.bench.usage import Usage, watching
from hyperllama_nb.errors import ConflictError, HyperLlamaError

if TYPE_CHECKING:
    from hyperllama_nb.client import Client

Tell = Callable[[str], None]

Drive = Callable[[Target, Cell, Load, int], list[Request]]
"""Sends a load's prompts to a target in a block; returns a record a request, warm-ups included."""


@dataclass(frozen=True)
class Plan:
    """What is to be measured; `load` makes the prompts of a cell in a block, for every target.

    `order` has the targets' names of each block in the order of their turns.
    """

    targets: tuple[Target, ...]
    cells: tuple[Cell, ...]
    order: tuple[tuple[str, ...], ...]
    load: Callable[[Cell, int], Load]
    seed: int = 0
    sampling: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """How long a load took, in seconds, whole and by phase; `first` is the target's first here."""

    target: str
    block: int
    first: bool
    seconds: float
    phases: tuple[tuple[str, float], ...]


@dataclass
class Outcome:
    """What came of an experiment; `complete` says that every block was measured whole.

    `engines` has what the service says of each target's engine, `usage` what it used.
    """

    plan: Plan
    requests: list[Request] = field(default_factory=list)
    loads: list[Loaded] = field(default_factory=list)
    engines: dict[str, dict[str, Any]] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)
    complete: bool = False
    note: str = ""

    @property
    def blocks(self) -> list[int]:
        """Return the blocks in which each target answered under each load."""
        wanted = len(self.plan.targets) * len(self.plan.cells)
        found: dict[int, set[tuple[str, str]]] = {}
        for request in self.requests:
            found.setdefault(request.block, set()).add((request.target, request.cell))
        return sorted(block for block, turns in found.items() if len(turns) == wanted)


class Experiment:
    """Runs a plan; only one engine of the service is loaded at a time."""

    def __init__(self, client: "Client", plan: Plan, drive: Drive, tell: Tell) -> None:
        self._client, self._plan, self._drive, self._tell = client, plan, drive, tell
        self._targets = {target.name: target for target in plan.targets}
        self._models: dict[str, str] = {}  # the service's own spelling of each target's model

    def run(self) -> Outcome:
        """Measure block by block; Ctrl-C ends it, and what was measured is kept.

        Raises HyperLlamaError if a target cannot be measured at all: an error in the first block.
        """
        outcome = Outcome(self._plan)
        total = len(self._plan.order)
        try:
            for block, names in enumerate(self._plan.order):
                for name in names:
                    self._tell(f"block {block + 1} of {total}: {name}")
                    self._turn(outcome, self._targets[name], block)
        except KeyboardInterrupt:
            outcome.note = (
                f"Interrupted: {len(outcome.blocks)} of {total} blocks were measured whole, "
                "and only those count in comparisons."
            )
        except HyperLlamaError as error:
            if not outcome.blocks:
                raise
            outcome.note = (
                f"Ended early: {error} {len(outcome.blocks)} of {total} blocks were measured whole."
            )
        outcome.complete = not outcome.note
        return outcome

    def _turn(self, outcome: Outcome, target: Target, block: int) -> None:
        with self._resident(outcome, target, block):
            for cell in self._plan.cells:
                usage = outcome.usage.setdefault(target.name, Usage())
                load = self._plan.load(cell, block)
                if target.kind == "service":
                    with watching(self._client, self._models[target.name], usage):
                        done = self._drive(target, cell, load, block)
                else:
                    done = self._drive(target, cell, load, block)
                outcome.requests += done
                if target.kind == "service":
                    outcome.engines[target.name] = self._engine(target)

    @contextmanager
    def _resident(self, outcome: Outcome, target: Target, block: int) -> Iterator[None]:
        """Hold the target's engine for the duration of the block, and no other one of ours."""
        self._clear()
        if target.kind == "service":
            first = all(load.target != target.name for load in outcome.loads)
            outcome.loads.append(self._load(target, block, first=first))
        try:
            yield
        finally:
            if target.kind == "service":
                self._client.unload(target.model)
            elif target.kind == "ollama":
                self._let_go(target)

    def _clear(self) -> None:
        engines = self._client.status()["engines"]
        for engine in engines:
            if engine.get("running") or engine.get("queued"):
                raise ConflictError(
                    f"{engine['model']} is answering somebody, and a comparison unloads all models "
                    "to give each target the machine. Wait for the answer, or stop it."
                )
        for engine in engines:
            self._client.unload(engine["model"])

    def _load(self, target: Target, block: int, *, first: bool) -> Loaded:
        options = {**target.options, "backend": target.backend}
        starts: list[tuple[str, float]] = []
        engine: dict[str, Any] = {}
        for line in self._client.load_progress(target.model, options=options):
            phase = line.get("phase")
            if phase and (not starts or starts[-1][0] != phase):
                starts.append((phase, line["elapsed"]))
            engine = line.get("engine") or engine
        self._models[target.name] = engine["model"]
        end = float(engine["elapsed"])
        ends = [start for _, start in starts[1:]] + [end]
        phases = tuple(
            (name, max(0.0, after - start))
            for (name, start), after in zip(starts, ends, strict=True)
        )
        return Loaded(target.name, block, first, end, phases)

    def _engine(self, target: Target) -> dict[str, Any]:
        engines, model = self._client.status()["engines"], self._models[target.name]
        return next((dict(each) for each in engines if each["model"] == model), {})

    def _let_go(self, target: Target) -> None:
        """Ask another program for its memory back; one that does not heed it is still measured."""
        from hyperllama_nb.client import Client

        try:
            with Client(target.url) as other:
                other.generate(target.model, keep_alive=0)
        except HyperLlamaError as error:
            self._tell(f"{target.name} keeps its model loaded: {error}")
