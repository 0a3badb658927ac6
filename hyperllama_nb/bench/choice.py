"""What a comparison is to measure, in people's words, and the plan that follows from it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from hyperllama_nb.bench import workloads
from hyperllama_nb.bench.choosing import cells
from hyperllama_nb.bench.records import Cell, Load
from hyperllama_nb.bench.throughput import Objectives
from hyperllama_nb.bench.workloads import Count
from hyperllama_nb.errors import RequestError

WORKLOADS = ("fixed", "uniform", "normal", "prefix", "turns", "sample")

GREEDY = {"temperature": 0, "seed": 1}
"""Sampling options below those that are chosen: answers should not differ from run to run."""


@dataclass(frozen=True)
class Choice:
    """What to compare: a model on targets, under loads, with a workload, in blocks.

    `targets` are specs as `choosing.targets` takes them, `rates` requests per second at Poisson
    distances, `requests` those of each load in each block, after `warmup` others that are not
    measured. What `input_tokens` and `output_tokens` mean to a workload is told by `load`.
    `options` are sampling options in Ollama's words, above `GREEDY`. With `noise_floor` the first
    target is measured a second time under another name. Raises RequestError for what can never be
    measured.
    """

    model: str
    targets: tuple[str, ...]
    concurrency: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()
    workload: str = "fixed"
    input_tokens: int = 128
    output_tokens: int = 64
    requests: int = 16
    warmup: int = 1
    blocks: int = 5
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    objectives: Objectives = field(default_factory=Objectives)
    noise_floor: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that measure nothing, and a workload that there is not."""
        if not self.targets:
            raise RequestError("There is nothing to measure: name at least one target.")
        if self.workload not in WORKLOADS:
            raise RequestError(
                f"There is no workload {self.workload!r}. Choose one of {', '.join(WORKLOADS)}."
            )
        for name in ("input_tokens", "output_tokens", "requests", "blocks"):
            if getattr(self, name) < 1:
                raise RequestError(f"`{name}` is {getattr(self, name)}, and must be at least 1.")
        if self.warmup < 0:
            raise RequestError(f"`warmup` is {self.warmup}, and must be at least 0.")

    @classmethod
    def quick(cls, model: str, targets: tuple[str, ...], **changes: Any) -> Self:
        """Return a choice of short prompts and answers in few blocks, but for the `changes`."""
        short = {"input_tokens": 64, "output_tokens": 32, "blocks": 3, "requests": 6}
        return cls(model, tuple(targets), **{**short, **changes})

    @property
    def specs(self) -> tuple[str, ...]:
        """Return the targets to measure: for the noise floor the first one twice."""
        first = self.targets[0]
        if self.noise_floor and self.targets.count(first) == 1:
            return (*self.targets, first)
        return self.targets

    @property
    def sampling(self) -> dict[str, Any]:
        """Return the sampling options that every target is sent."""
        return {**GREEDY, **self.options}

    def cells(self) -> tuple[Cell, ...]:
        """Return the loads."""
        return cells(self.concurrency, self.rates, requests=self.requests, warmup=self.warmup)

    def load(self, cell: Cell, block: int, tokens: Count | None = None) -> Load:
        """Return the prompts of a load in a block, warm-ups first; none comes in two of them.

        `tokens` counts as the targets do. The workloads with I tokens in and O out:

        - fixed: prompts of I tokens, answers of O.
        - uniform: from half of I and O to one and a half times as much, all equally often.
        - normal: I and O on average, with a standard deviation of a quarter of that.
        - prefix: prompts of I tokens, of which the first three quarters are the same for all.
        - turns: conversations of four turns; each adds I tokens to those before, with answers of O.
        - sample: tasks in everyday language, so that I has no effect; answers of O.
        """
        # No prompt may come again: a cache would answer it.
        own = 1000 * (1 + block) + [each.name for each in self.cells()].index(cell.name)
        chance = self.seed * 1_000_003 + own
        return _MAKERS[self.workload](self, cell, chance, tokens)

    def plain(self) -> dict[str, Any]:
        """Return the fields as JSON knows them."""
        return asdict(self)


Maker = Callable[[Choice, Cell, int, Count | None], Load]


def _fixed(choice: Choice, cell: Cell, seed: int, tokens: Count | None) -> Load:
    count, reads, writes = _sizes(choice, cell)
    return workloads.fixed(count, reads, writes, seed=seed, tokens=tokens)


def _uniform(choice: Choice, cell: Cell, seed: int, tokens: Count | None) -> Load:
    count, *means = _sizes(choice, cell)
    reads, writes = ((-(-mean // 2), 3 * mean // 2) for mean in means)
    return workloads.spread(count, reads, writes, kind="uniform", seed=seed, tokens=tokens)


def _normal(choice: Choice, cell: Cell, seed: int, tokens: Count | None) -> Load:
    count, *means = _sizes(choice, cell)
    reads, writes = ((mean, round(mean / 4)) for mean in means)
    return workloads.spread(count, reads, writes, kind="normal", seed=seed, tokens=tokens)


def _prefix(choice: Choice, cell: Cell, seed: int, tokens: Count | None) -> Load:
    count, reads, writes = _sizes(choice, cell)
    shared = min(max(1, 3 * reads // 4), max(1, reads - 1))
    return workloads.prefix(count, shared, max(1, reads - shared), writes, seed=seed, tokens=tokens)


def _turns(choice: Choice, cell: Cell, seed: int, tokens: Count | None) -> Load:
    count, reads, writes = _sizes(choice, cell)
    return workloads.turns(
        count,
        reads,
        writes,
        sessions=cell.concurrency or -(-count // 4),
        seed=seed,
        tokens=tokens,
    )


def _sample(choice: Choice, cell: Cell, seed: int, tokens: Count | None) -> Load:
    count, _, writes = _sizes(choice, cell)
    return workloads.sample(count, writes, seed=seed, tokens=tokens)


def _sizes(choice: Choice, cell: Cell) -> tuple[int, int, int]:
    return cell.requests + cell.warmup, choice.input_tokens, choice.output_tokens


_MAKERS: dict[str, Maker] = dict(
    zip(WORKLOADS, (_fixed, _uniform, _normal, _prefix, _turns, _sample), strict=True)
)
