"""The backend for Modular MAX: which of its two engines is launched, and how."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hyperllama_nb import _processor
from hyperllama_nb.engines.base import (
    BackendInfo,
    Launch,
    LaunchSpec,
    Phase,
    Placement,
    Traits,
    Warmup,
)
from hyperllama_nb.engines.max import devices, failures, find, leaning, memory, phases
from hyperllama_nb.engines.max.leaning import Lean
from hyperllama_nb.engines.max.serve import Serve
from hyperllama_nb.engines.memory import Need
from hyperllama_nb.errors import EngineMissingError, EngineStartError

if TYPE_CHECKING:
    from hyperllama_nb.hardware import Hardware
    from hyperllama_nb.models.manifest import Manifest

LONGEST_WORKDIR = 64
"""Bytes: MAX's processes talk over sockets in there, whose paths have room for 103 in all."""

_PASSED = frozenset(
    {
        *("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "TZ", "USER"),
        *("CUDA_VISIBLE_DEVICES", "CUDA_HOME", "LD_LIBRARY_PATH", "NVIDIA_VISIBLE_DEVICES"),
        *("HIP_VISIBLE_DEVICES", "ROCM_PATH", "ROCR_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION"),
        *("MAX_SERVE_DUMMY_MODEL", "MODULAR_HOME", "MODULAR_MAX_ALLOCATOR"),
    }
)
"""The variables that reach MAX; whatever else a notebook has set stays away from it."""

_FIXED = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "MAX_SERVE_API_TYPES": '["openai"]',
    "MAX_SERVE_GRACEFUL_SHUTDOWN_TIMEOUT_S": "5",
    # In the server's own process: no metrics process, and its text is on the same socket.
    "MAX_SERVE_METRIC_RECORDING_METHOD": "ASYNCIO",
    "MODULAR_CRASH_REPORTING_ENABLED": "0",
    "MODULAR_TELEMETRY_ENABLED": "0",
    "OTEL_SDK_DISABLED": "true",
    "PYTHONSAFEPATH": "1",
    "PYTHONUNBUFFERED": "1",
}


REMEMBERED = 1000
"""Launches whose way is remembered."""


class _Chosen(NamedTuple):
    """How a model is launched, what the engine can do then, and a sentence about it."""

    way: Serve | Lean
    able: frozenset[str]
    words: str


def _choose(spec: LaunchSpec, told: str | None) -> _Chosen:
    serve, lean = Serve(), Lean()
    try:
        found = find.find(told)
    except EngineMissingError:
        return _Chosen(serve, serve.capabilities(spec), "`max serve`, once MAX is there")
    against = leaning.reason_against(spec, found)
    if against is None:
        return _Chosen(lean, lean.capabilities(found), "the lean engine")
    words = f"`max serve`, since the lean engine does not run it: {against}"
    return _Chosen(serve, serve.capabilities(spec), words)


class MaxBackend:
    """Launches MAX on a Unix socket: the lean engine where it can, `max serve` otherwise."""

    name = "max"

    def __init__(self) -> None:
        self._told: str | None = None
        self._ways: dict[Path, _Chosen] = {}

    def hear_of(self, program: str) -> None:
        """Take note of the `max` command in the environment of a client."""
        self._told = program

    def find(self) -> find.Found:
        """Return the MAX that would be launched; raises EngineMissingError."""
        return find.find(self._told)

    def available(self) -> BackendInfo:
        """Return MAX's command and version; raises EngineMissingError."""
        found = self.find()
        return BackendInfo(found.path, found.version)

    def place(self, manifest: "Manifest", hardware: "Hardware") -> Placement:
        """Choose the fewest accelerators that hold the model, or else the CPU."""
        return devices.place(manifest, hardware)

    def batch(self, spec: LaunchSpec) -> int | None:
        """Return the requests at once; None on a GPU, where MAX fits them to the memory itself."""
        return self._chosen(spec).way.batch(spec)

    def check(self, spec: LaunchSpec, hardware: "Hardware") -> None:
        """Raise CannotRunError or NotEnoughMemoryError, in words, if the model cannot run there."""
        devices.check(spec)
        memory.check(self.memory(spec), spec, hardware)

    def memory(self, spec: LaunchSpec) -> Need:
        """Return what the weights, the cache of keys and values, and MAX itself take."""
        return memory.need(spec, self._chosen(spec).way.shape)

    def traits(self, spec: LaunchSpec) -> Traits:
        """Return the type of the cache, and the encoding that MAX makes of the weights."""
        encoding = devices.encoding(spec.manifest, spec.placement)
        return replace(self._chosen(spec).way.traits(spec), encoding=encoding)

    def capabilities(self, spec: LaunchSpec) -> frozenset[str]:
        """Return what the engine does with this launch."""
        return self._chosen(spec).able

    def most_logprobs(self, spec: LaunchSpec) -> int:
        """Return 20 for the lean engine, and 7 for `max serve`."""
        return self._chosen(spec).way.most_logprobs

    def params(self, spec: LaunchSpec, sampling: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters without those that the engine does not know."""
        return self._chosen(spec).way.params(sampling)

    def command(self, spec: LaunchSpec) -> Launch:
        """Return the command line and environment.

        Raises EngineMissingError, CannotRunError, and EngineStartError if `workdir` has too long a
        path for the sockets in it.
        """
        found = self.find()
        if len(os.fsencode(spec.workdir)) > LONGEST_WORKDIR:
            raise EngineStartError(
                f"The engine's private directory {spec.workdir} has a path of over "
                f"{LONGEST_WORKDIR} bytes, which leaves no room for the sockets of MAX. "
                "Set HYPERLLAMA_RUNTIME_DIR to a shorter path."
            )
        argv = self._chosen(spec).way.command(spec, found, spec.batch or self.batch(spec))
        return Launch(tuple(argv), self._environment(spec, found.version))

    def warm(self, spec: LaunchSpec) -> Warmup | None:
        """Return how to fill MAX's compile cache; None for an engine that embeds."""
        found = self.find()
        made = self._chosen(spec).way.warm(spec, found)
        if made is None:
            return None
        argv, graph = made
        digest = hashlib.sha256(graph.encode()).hexdigest()
        return Warmup(
            Launch(tuple(argv), self._environment(spec, found.version)),
            f"{spec.manifest.digest[-16:]}-{digest[:8]}",
            _cache(spec, found.version),
        )

    def launch(self, spec: LaunchSpec) -> str:
        """Return the way in which a model is launched, and why, in words."""
        return self._chosen(spec).words

    def _chosen(self, spec: LaunchSpec) -> "_Chosen":
        """Return the way of a launch, which stays the same for as long as its engine lives.

        Every request asks for it, and finding MAX reads files.
        """
        chosen = self._ways.get(spec.workdir)
        if chosen is None:
            chosen = _choose(spec, self._told)
            if len(self._ways) >= REMEMBERED:
                self._ways.pop(next(iter(self._ways)))
            self._ways[spec.workdir] = chosen
        return chosen

    def _environment(self, spec: LaunchSpec, version: str) -> dict[str, str]:
        passed = {
            name: value
            for name, value in os.environ.items()
            if name in _PASSED or name.startswith("LC_")
        }
        return {
            **passed,
            **_FIXED,
            "MODULAR_CACHE_DIR": str(_cache(spec, version)),
            "TMPDIR": str(spec.workdir),
        }

    def phase(self, line: str) -> Phase | None:
        """Return the stage that a line of MAX's log announces."""
        return phases.phase(line)

    def explain(self, log_tail: Sequence[str], returncode: int | None) -> str:
        """Return why MAX ended, the next step, and its last words."""
        return failures.explain(log_tail, returncode)


def _cache(spec: LaunchSpec, version: str) -> Path:
    """Return the directory of what is compiled.

    MAX prunes the caches of other versions, and a home directory may be shared by machines whose
    processors differ.
    """
    return spec.cache / f"max-{version}-{_processor.tag()}"
