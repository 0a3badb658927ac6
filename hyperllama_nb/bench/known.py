"""What is known of the targets, the machine and the schedule; the rules of fairness look at it."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class TargetFacts:
    """What is known of one target; None where it does not say.

    `digest` names the model's file, `weights` is what they take in memory, in bytes; `cache_type`
    is how the cache of a context holds its numbers; `slots` is how many answers run side by side;
    `resident` are the other models that were loaded while it was measured; `options` are the
    sampling options that were sent; `fresh_prompts` tells that no cache can have answered.
    """

    model: str | None = None
    digest: str | None = None
    quantisation: str | None = None
    context: int | None = None
    engine: str | None = None
    version: str | None = None
    device: str | None = None
    threads: int | None = None
    slots: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    resident: tuple[str, ...] | None = None
    fresh_prompts: bool | None = None
    weights: int | None = None
    cache_type: str | None = None


@dataclass(frozen=True)
class MachineFacts:
    """The machine: load averages over one minute, memory in bytes, `client_cores` if pinned."""

    cores: int | None = None
    memory: int | None = None
    load_before: float | None = None
    load_after: float | None = None
    governor: str | None = None
    on_battery: bool | None = None
    client_cores: int | None = None


@dataclass(frozen=True)
class ScheduleFacts:
    """The order of blocks, its seed, and how many requests of each load were warm-up."""

    blocks: int
    order: tuple[tuple[str, ...], ...]
    seed: int
    warmup: int


@dataclass(frozen=True)
class Facts:
    """All that the rules look at beside the records; `plain()` goes into the manifest."""

    targets: dict[str, TargetFacts]
    machine: MachineFacts
    schedule: ScheduleFacts

    def plain(self) -> dict[str, Any]:
        """Return the fields as JSON knows them."""
        return asdict(self)
