"""The backend for Modular MAX: how `max serve` is launched, and how it talks."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperllama_nb import _processor
from hyperllama_nb.engines.base import BackendInfo, Launch, LaunchSpec, Phase, Placement, Warmup
from hyperllama_nb.engines.max import devices, failures, find, launcher, memory, phases
from hyperllama_nb.engines.memory import Need
from hyperllama_nb.errors import EngineStartError

if TYPE_CHECKING:
    from hyperllama_nb.hardware import Hardware
    from hyperllama_nb.models.manifest import Manifest

CPU_BATCH = 4
"""Requests at once on a CPU, where MAX's own default is one after the other."""

CPU_TEXTS, GPU_TEXTS = 8, 64
"""Texts that are embedded in one step on a CPU or a GPU, where MAX's own default is one."""

CPU_CHUNK = 256
"""Prompt tokens per step on a CPU: a cancelled long prompt frees the engine after one step."""

LONGEST_WORKDIR = 64
"""Bytes: MAX's processes talk over sockets in there, whose paths have room for 103 in all."""

MOST_LOGPROBS = 7

_UNKNOWN = frozenset({"repeat_last_n", "schema", "typical_p"})

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


class MaxBackend:
    """Launches `max serve` on a Unix socket."""

    name = "max"

    def __init__(self) -> None:
        self._told: str | None = None

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
        """Return 4 on a CPU; None on a GPU, where MAX fits the batch to the memory itself."""
        return CPU_BATCH if spec.placement.device == "cpu" else None

    def check(self, spec: LaunchSpec, hardware: "Hardware") -> None:
        """Raise CannotRunError or NotEnoughMemoryError, in words, if the model cannot run there."""
        devices.check(spec)
        memory.check(self.memory(spec), spec, hardware)

    def memory(self, spec: LaunchSpec) -> Need:
        """Return what the weights, the cache of keys and values, and MAX itself take."""
        return memory.need(spec)

    def capabilities(self, spec: LaunchSpec) -> frozenset[str]:
        """Return what MAX does with this launch; it can constrain output to a grammar on GPUs."""
        on_cpu = spec.placement.device == "cpu"
        # The workers of `max serve` poll: an idle one takes a fifth of a core.
        always = {"token_ids", "metrics"} | ({"sleeps"} if on_cpu else set())
        if spec.task == "embed":
            return frozenset(always | {"embeddings"})
        always |= {"penalties", "seed", "stop"}
        return frozenset(always | ({"logprobs"} if on_cpu else set()))

    def most_logprobs(self, spec: LaunchSpec) -> int:
        """Return 7, the limit of MAX."""
        del spec
        return MOST_LOGPROBS

    def params(self, sampling: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters without those that MAX does not know."""
        known = {name: value for name, value in sampling.items() if name not in _UNKNOWN}
        if "logprobs" in known:
            known["logprobs"] = max(1, known["logprobs"])  # none asked for is none told
        return known

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
        argv = [
            *(str(found.python), launcher.__file__, str(spec.socket), "serve"),
            *("--served-model-name", spec.manifest.name.display),
            # Where the launcher fails to move the server to the socket, this is where it listens;
            # port 0 is any free one.
            *("--host", "127.0.0.1", "--port", "0"),
            "--allow-cold-interpreter-cache",
            *_files(spec),
            *_graph(spec),
            *_for_task(spec, spec.batch or self.batch(spec)),
        ]
        return Launch(tuple(argv), self._environment(spec, found.version))

    def warm(self, spec: LaunchSpec) -> Warmup | None:
        """Return how to fill MAX's compile cache; None for an engine that embeds.

        MAX's command for it takes a model that can do both for one that generates.
        """
        if spec.task == "embed":
            return None
        found = self.find()
        graph = _graph(spec)
        argv = [
            *(str(found.python), launcher.__file__, str(spec.socket), "warm-cache"),
            *_files(spec),
            *graph,
            # The batch changes the cache of keys and values that it makes, and nothing it compiles.
            *("--max-batch-size", "1"),
        ]
        digest = hashlib.sha256(" ".join(graph).encode()).hexdigest()
        return Warmup(
            Launch(tuple(argv), self._environment(spec, found.version)),
            f"{spec.manifest.digest[-16:]}-{spec.context}-{digest[:8]}",
            _cache(spec, found.version),
        )

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


def _files(spec: LaunchSpec) -> list[str]:
    """Return the options that name the model's files."""
    weights = _gguf(spec.directory)
    named = ["--weight-path", str(weights)] if weights is not None else []
    return ["--model", str(spec.directory), *named]


def _graph(spec: LaunchSpec) -> list[str]:
    """Return the options on which the compiled code depends."""
    options = [
        *("--devices", _devices(spec.placement)),
        *("--quantization-encoding", devices.encoding(spec.manifest, spec.placement)),
        *("--max-length", str(spec.context)),
    ]
    return options if spec.task == "embed" else [*options, "--enable-penalties"]


def _for_task(spec: LaunchSpec, batch: int | None) -> list[str]:
    """Return the options that depend on what the engine is for; `batch` is in requests."""
    on_cpu = spec.placement.device == "cpu"
    if spec.task == "embed":
        # A request has several texts, and MAX queues each for itself. Its queue is ours to bound.
        texts = CPU_TEXTS if on_cpu else GPU_TEXTS
        return ["--task", "embeddings_generation", "--max-batch-size", str(texts)]
    options = ["--max-queue-size", str(spec.max_queue)]
    if batch is not None:
        options += ["--max-batch-size", str(batch)]
    if on_cpu:
        options += ["--max-batch-input-tokens", str(CPU_CHUNK)]
    return options


def _devices(placement: Placement) -> str:
    if placement.device == "cpu":
        return "cpu"
    return f"gpu:{','.join(map(str, placement.indices))}"


def _gguf(directory: Path) -> Path | None:
    """Return the GGUF that holds the weights, where no safetensors do."""
    if any(directory.glob("*.safetensors")):
        return None
    return min(directory.glob("*.gguf"), default=None)
