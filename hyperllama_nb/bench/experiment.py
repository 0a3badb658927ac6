"""One experiment: all targets under all loads, in blocks whose order a seed mixes."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from hyperllama_nb.bench.records import Cell, Load, Request, Target
from hyperllama_nb.bench.serving import Own
from hyperllama_nb.bench.usage import Usage
from hyperllama_nb.errors import HyperLlamaError


class Drive(Protocol):
    """Sends a load's prompts to a target; `drive.Generator` is one."""

    cut: list[Request]

    def records(
        self, target: Target, cell: Cell, load: Load, block: int
    ) -> Generator[Request, None, None]:
        """Yield a record for each request; what an early end cuts off is added to `cut`.

        Raises Stopped if somebody asked for that end.
        """
        ...


class Control(Protocol):
    """Whoever runs the experiment: hears where it is, and may let it rest or end it."""

    def at(self, place: str) -> None:
        """Hear where it is; raises Stopped to end it."""
        ...

    def grew(self) -> None:
        """Hear that there is a new record or a new load."""
        ...

    def rest(self) -> None:
        """Return when it may go on with the next turn; raises Stopped to end it."""
        ...


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

    `engines` has what the service says of each target's engine, `usage` what it used, `resident`
    the other models that were loaded in its turns, `partial` the blocks that were begun and have
    not been measured whole.
    """

    plan: Plan
    requests: list[Request] = field(default_factory=list)
    loads: list[Loaded] = field(default_factory=list)
    engines: dict[str, dict[str, Any]] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)
    resident: dict[str, set[str]] = field(default_factory=dict)
    partial: set[int] = field(default_factory=set)
    complete: bool = False
    note: str = ""

    @property
    def blocks(self) -> list[int]:
        """Return the blocks that were measured whole: each target answered under each load."""
        wanted = len(self.plan.targets) * len(self.plan.cells)
        found: dict[int, set[tuple[str, str]]] = {}
        for request in self.requests:
            found.setdefault(request.block, set()).add((request.target, request.cell))
        return sorted(
            block
            for block, turns in found.items()
            if len(turns) == wanted and block not in self.partial
        )

    def copy(self) -> "Outcome":
        """Return it as it is now, which does not change while it is looked at."""
        return replace(
            self,
            requests=list(self.requests),
            loads=list(self.loads),
            engines=dict(self.engines),
            usage=dict(self.usage),
            resident={name: set(others) for name, others in dict(self.resident).items()},
            partial=set(self.partial),
        )


class Experiment:
    """Measures the blocks of a plan; only one engine of the service is loaded at a time."""

    def __init__(self, service: Own, outcome: Outcome, drive: Drive, control: Control) -> None:
        """Take what is to be filled; `outcome.plan` may grow by blocks while it is measured."""
        self._service, self._drive, self._control = service, drive, control
        self._outcome = outcome
        self._targets = {target.name: target for target in outcome.plan.targets}
        self._models: dict[str, str] = {}  # the service's own spelling of each target's model

    def block(self, number: int) -> None:
        """Measure a block; raises HyperLlamaError, and Stopped if the control says so.

        Its prompts are made before its first turn: while something is measured, nothing else runs.
        """
        outcome = self._outcome
        outcome.partial.add(number)
        self._control.at("making prompts")
        loads = {cell.name: outcome.plan.load(cell, number) for cell in outcome.plan.cells}
        left = len(outcome.plan.order[number]) * len(loads)
        for name in outcome.plan.order[number]:
            target = self._targets[name]
            with self._alone(target):
                for cell in outcome.plan.cells:
                    self._turn(target, cell, loads[cell.name], number)
                    left -= 1
                    if not left:
                        outcome.partial.discard(number)
                    self._control.rest()

    def _turn(self, target: Target, cell: Cell, load: Load, block: int) -> None:
        outcome, service = self._outcome, target.kind == "service"
        if service and not self._engine(target):
            self._load(target, block)
        self._control.at(f"{target.name}, {cell.name}")
        usage = outcome.usage.setdefault(target.name, Usage())
        with ExitStack() as stack:
            if service:
                stack.enter_context(self._service.watching(self._models[target.name], usage))
            self._measure(self._able(target), cell, load, block)
        engines = {each["model"]: each for each in self._service.engines()}
        own = engines.pop(self._models.get(target.name, ""), {})
        outcome.engines[target.name] = {**outcome.engines.get(target.name, {}), **own}
        others = outcome.resident.setdefault(target.name, set())
        others |= usage.others | engines.keys()

    def _measure(self, target: Target, cell: Cell, load: Load, block: int) -> None:
        requests, drive = self._outcome.requests, self._drive
        try:
            with closing(drive.records(target, cell, load, block)) as records:
                for record in records:
                    requests.append(record)
                    self._control.grew()
        finally:
            requests += drive.cut
            drive.cut.clear()

    def _able(self, target: Target) -> Target:
        """Return the target as it is asked: its answers go on to their length where they can."""
        if not self._outcome.engines.get(target.name, {}).get("ignore_eos"):
            return target
        return replace(target, options={"ignore_eos": True, **target.options})

    @contextmanager
    def _alone(self, target: Target) -> Iterator[None]:
        """Hold no other engine of ours than the target's for the duration of the block."""
        self._service.clear()
        try:
            yield
        finally:
            if target.kind == "service":
                self._service.unload(target.model)
            elif target.kind == "ollama":
                self._let_go(target)

    def _load(self, target: Target, block: int) -> None:
        engine, seconds, phases = self._service.load(
            target, lambda: self._control.at(f"loading {target.name}")
        )
        self._models[target.name] = engine["model"]
        outcome = self._outcome
        outcome.engines[target.name] = {**outcome.engines.get(target.name, {}), **engine}
        first = all(load.target != target.name for load in outcome.loads)
        outcome.loads.append(Loaded(target.name, block, first, seconds, phases))
        self._control.grew()

    def _engine(self, target: Target) -> dict[str, Any]:
        """Return what the service says of the target's engine; empty if it is not loaded."""
        engines, model = self._service.engines(), self._models.get(target.name)
        return next((dict(each) for each in engines if each["model"] == model), {})

    def _let_go(self, target: Target) -> None:
        """Ask another program for its memory back; one that does not heed it is still measured."""
        from hyperllama_nb.client import Client

        try:
            with Client(target.url) as other:
                other.generate(target.model, keep_alive=0)
        except HyperLlamaError as error:
            self._control.at(f"{target.name} keeps its model loaded: {error}")
