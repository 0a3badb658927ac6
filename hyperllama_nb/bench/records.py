"""What a measurement asks for and what it keeps: targets, loads, cells, and a record a request."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from hyperllama_nb.errors import RequestError

Status = Literal["succeeded", "failed", "incomplete"]
"""Answered to its end; refused, broken or in time not answered; or cut off by the run's own end."""

Kind = Literal["service", "ollama", "openai"]
Arrival = Literal["constant", "poisson"]


class Plain:
    """Records that go through JSON and come back equal."""

    def plain(self) -> dict[str, Any]:
        """Return the fields as JSON knows them: tuples are lists."""
        return _listed(asdict(self))  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return the record of what `plain` returned; raises RequestError for other fields."""
        names = {each.name for each in fields(cls)}  # type: ignore[arg-type]
        try:
            if unknown := set(plain) - names:
                raise TypeError(f"no field {min(unknown)!r}")
            return cls(**{name: _tupled(value) for name, value in plain.items()})
        except TypeError as error:
            raise RequestError(
                f"This is not a {cls.__name__} of a measurement ({error}): it was written by "
                "another version or edited. Run the measurement again."
            ) from None


@dataclass(frozen=True)
class Request(Plain):
    """One request: what was asked, and when what came of it.

    All times are seconds of one monotonic clock of the load generator since the run's start.
    `scheduled` is when the request was due (open loop) or free to go (closed loop), `sent` when
    its connection was begun, `texts` the arrival of each piece of the answer that had text (pieces
    are not tokens), `finished` when its end, or what ended it, was seen. Counts are the server's,
    and None where it told none.
    """

    target: str
    cell: str
    block: int
    index: int
    warmup: bool
    scheduled: float
    sent: float
    texts: tuple[float, ...]
    finished: float
    status: Status
    error: str | None
    prompt_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    asked_prompt: int
    asked_output: int
    concurrency: int | None
    rate: float | None

    @property
    def lag(self) -> float:
        """Return how late the generator sent it, in seconds; it is part of the latency."""
        return self.sent - self.scheduled


@dataclass(frozen=True)
class Cell(Plain):
    """One load: so many requests at a time, or so many a second.

    Exactly one of `concurrency` (closed loop: streams at a time) and `rate` (open loop: requests
    per second, at constant or at Poisson distances) is set. `requests` are measured, after
    `warmup` requests that are kept apart.
    """

    name: str
    concurrency: int | None = None
    rate: float | None = None
    arrival: Arrival = "constant"
    requests: int = 16
    warmup: int = 2

    def __post_init__(self) -> None:
        """Refuse a load that cannot be driven."""
        if (self.concurrency is None) == (self.rate is None):
            raise RequestError(
                f"The load {self.name!r} needs either a concurrency or a rate, and not both."
            )
        if (self.concurrency is not None and self.concurrency < 1) or (
            self.rate is not None and not 0 < self.rate < float("inf")
        ):
            raise RequestError(
                f"The load {self.name!r} sends nothing: its concurrency or rate must be above 0."
            )
        if self.requests < 1 or self.warmup < 0:
            raise RequestError(
                f"The load {self.name!r} needs at least one request, and no fewer than 0 warm-ups."
            )


@dataclass(frozen=True)
class Prompt(Plain):
    """What one request asks: a text, or token ids where a target takes them.

    `asked_prompt` and `asked_output` are the lengths in tokens that the workload wants.
    """

    text: str
    asked_prompt: int
    asked_output: int
    ids: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Load(Plain):
    """A workload: its prompts in their order, the same for each target, and how they came about."""

    name: str
    prompts: tuple[Prompt, ...]
    seed: int = 0

    def plain(self) -> dict[str, Any]:
        """Return the fields as JSON knows them."""
        return {
            "name": self.name,
            "prompts": [prompt.plain() for prompt in self.prompts],
            "seed": self.seed,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return the workload of what `plain` returned."""
        prompts = tuple(Prompt.from_plain(each) for each in plain["prompts"])
        return cls(plain["name"], prompts, plain["seed"])


@dataclass(frozen=True)
class Target(Plain):
    """A server and a model on it.

    `url` is `http://host:port[/path]` or `unix:/path/of/socket`; `options` are sampling options in
    Ollama's words; `backend` is the engine that the service is to load the model with.
    """

    name: str
    kind: Kind
    url: str
    model: str
    options: dict[str, Any] = field(default_factory=dict)
    backend: str | None = None


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _listed(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_listed(each) for each in value]
    return value


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
