"""What a backend is: the questions it answers, and the words of the answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from hyperllama_nb.engines.memory import Need
from hyperllama_nb.errors import EngineMissingError

if TYPE_CHECKING:
    from hyperllama_nb.hardware import Hardware
    from hyperllama_nb.models.manifest import Manifest

GROUP = "hyperllama_nb.backends"
"""The entry-point group in which backends are found."""

SHORTEST_CONTEXT = 2048
"""The first rung of the ladder of context lengths, in tokens."""


Task = Literal["generate", "embed"]


@dataclass(frozen=True)
class Placement:
    """Where an engine runs: the CPU, or the accelerators with these indices."""

    device: Literal["cpu", "gpu"] = "cpu"
    api: Literal["cpu", "cuda", "hip", "metal"] = "cpu"
    indices: tuple[int, ...] = ()


@dataclass(frozen=True)
class LaunchSpec:
    """All that a backend needs to launch one model.

    `directory` holds the model's files, and `source` is its GGUF file as it was pulled, where it
    came as one; `task` is what the engine is for. `context` is in tokens; `batch` is the number
    of requests that run at once (None: the backend's choice); `workdir` is the engine's private
    directory and `cache` the place for compiled models.
    """

    manifest: "Manifest"
    directory: Path
    placement: Placement
    context: int
    batch: int | None
    max_queue: int
    socket: Path
    workdir: Path
    cache: Path
    source: Path | None = None
    task: Task = "generate"


@dataclass(frozen=True)
class Launch:
    """A command line and its whole environment."""

    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Traits:
    """What a launch fixes that changes speed and answers; None where the backend does not know.

    `cache_type` is what keys and values are kept in ("float32", "f16", … in the engine's words),
    `threads` are those that compute, and `encoding` is what the weights are computed in
    ("float32", "q4_0", …), whatever the model's file holds.
    """

    cache_type: str | None = None
    threads: int | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class Warmup:
    """The compilation of a model ahead of its first start.

    `launch` compiles and ends. `key` names what comes out of it, with letters that suit a file's
    name: an engine whose launch has the same key finds its code compiled. `place` is the directory
    that keeps the code.
    """

    launch: Launch
    key: str
    place: Path


@dataclass(frozen=True)
class Phase:
    """A stage of an engine's start: its name, and a sentence for people."""

    name: str
    message: str


@dataclass(frozen=True)
class BackendInfo:
    """The program that a backend would start, and its version."""

    path: Path
    version: str


@runtime_checkable
class Backend(Protocol):
    """One way of launching engines; stateless but for what `hear_of` told."""

    name: str

    def available(self) -> BackendInfo:
        """Return the program; raises EngineMissingError that says how to get it."""
        ...

    def hear_of(self, program: str) -> None:
        """Take note of the program in the environment of a client."""
        ...

    def place(self, manifest: "Manifest", hardware: "Hardware") -> Placement:
        """Choose the devices for a model."""
        ...

    def batch(self, spec: LaunchSpec) -> int | None:
        """Return how many requests should run at once; None leaves it to the engine."""
        ...

    def check(self, spec: LaunchSpec, hardware: "Hardware") -> None:
        """Raise CannotRunError or NotEnoughMemoryError, in words, if the model cannot run there."""
        ...

    def memory(self, spec: LaunchSpec) -> Need:
        """Return what the engine will take of its device's memory."""
        ...

    def command(self, spec: LaunchSpec) -> Launch:
        """Return how to start the engine; raises EngineMissingError."""
        ...

    def warm(self, spec: LaunchSpec) -> Warmup | None:
        """Return how to compile the model before its first start; None if nothing is compiled."""
        ...

    def launch(self, spec: LaunchSpec) -> str | None:
        """Return in words the way in which it launches a model; None if it has only one."""
        ...

    def traits(self, spec: LaunchSpec) -> Traits:
        """Return what the launch fixes, for those who compare engines."""
        ...

    def capabilities(self, spec: LaunchSpec) -> frozenset[str]:
        """Return what the engine can do (`penalties`, `token_ids`, `logprobs`, `constrain`, …).

        `ignore_eos` says that it goes on after the model's own end of a text where it is asked to.
        `sleeps` says that it uses the processor while it is idle, and bears being stopped (SIGSTOP)
        then. Never for an engine on a GPU: the device's driver, and the processes that share the
        device, wait for threads of each of its users, and time out on those that stand still.
        """
        ...

    def most_logprobs(self, spec: LaunchSpec) -> int:
        """Return how many alternatives the engine tells for a token at most."""
        ...

    def params(self, spec: LaunchSpec, sampling: Mapping[str, Any]) -> dict[str, Any]:
        """Return wire parameters in the engine's dialect.

        `sampling` has what `engines.sampling` makes, and may have `logprobs` (how many
        alternatives to tell) and `schema` (JSON that the text must follow; only for engines that
        can `constrain`). What the engine does not know is left out.
        """
        ...

    def phase(self, line: str) -> Phase | None:
        """Return the stage that a line of the log announces."""
        ...

    def explain(self, log_tail: Sequence[str], returncode: int | None) -> str:
        """Say why an engine ended: the cause, the next step, its last words."""
        ...


def load_backends() -> dict[str, Backend]:
    """Return the installed backends by name; `max` comes first.

    Raises EngineMissingError if one cannot be imported: a broken plug-in must not vanish silently.
    """
    found: dict[str, Backend] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda e: (e.name != "max", e.name)):
        try:
            found[entry.name] = entry.load()()
        except Exception as error:
            raise EngineMissingError(
                f"The backend {entry.name!r} ({entry.value}) cannot be loaded: {error!r}. "
                "Reinstall or uninstall the package that brings it."
            ) from error
    return found


def context_rung(wanted: int, longest: int) -> int:
    """Return the context length to compile for: the first rung that holds `wanted` tokens.

    The rungs are 2048, 4096, 8192, …, capped by `longest`, the model's own limit. Each new length
    is a full compile, so few lengths are used.
    """
    rung = SHORTEST_CONTEXT
    while rung < wanted:
        rung *= 2
    return min(rung, longest)
