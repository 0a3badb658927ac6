"""Launching `max serve`: on every device and for every model that MAX has an architecture for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperllama_nb.engines.base import LaunchSpec, Placement, Traits
from hyperllama_nb.engines.max import devices, launcher, memory, quantized
from hyperllama_nb.engines.max.find import Found

CPU_BATCH = 4
"""Requests at once on a CPU, where MAX's own default is one after the other."""

CPU_TEXTS, GPU_TEXTS = 8, 64
"""Texts that are embedded in one step on a CPU or a GPU, where MAX's own default is one."""

CPU_CHUNK = 256
"""Prompt tokens per step on a CPU: a cancelled long prompt frees the engine after one step."""

_CACHES = {"float16": "float16"} | dict.fromkeys(("float32", "q4_0", "q4_k", "q6_k"), "float32")
"""What MAX keeps keys and values in for an encoding; bfloat16 for the others."""

_UNKNOWN = frozenset({"repeat_last_n", "schema", "typical_p"})


class Serve:
    """The public command, behind a launcher that moves its server to the socket."""

    shape = memory.SERVE
    most_logprobs = 7

    def batch(self, spec: LaunchSpec) -> int | None:
        """Return 4 on a CPU; None on a GPU, where MAX fits the batch to the memory itself."""
        return CPU_BATCH if spec.placement.device == "cpu" else None

    def capabilities(self, spec: LaunchSpec) -> frozenset[str]:
        """Return what MAX does with this launch; it can constrain output to a grammar on GPUs."""
        on_cpu = spec.placement.device == "cpu"
        # The workers of `max serve` poll: an idle one takes a fifth of a core.
        always = {"token_ids", "metrics"} | ({"sleeps"} if on_cpu else set())
        if spec.task == "embed":
            return frozenset(always | {"embeddings"})
        always |= {"ignore_eos", "penalties", "seed", "stop"}
        return frozenset(always | ({"logprobs"} if on_cpu else set()))

    def traits(self, spec: LaunchSpec) -> Traits:
        """Return the type of the cache, which follows from the encoding of the weights."""
        if spec.task == "embed":
            return Traits()
        return Traits(_CACHES.get(devices.encoding(spec.manifest, spec.placement), "bfloat16"))

    def params(self, sampling: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters without those that MAX does not know."""
        known = {name: value for name, value in sampling.items() if name not in _UNKNOWN}
        if "logprobs" in known:
            known["logprobs"] = max(1, known["logprobs"])  # none asked for is none told
        return known

    def command(self, spec: LaunchSpec, found: Found, batch: int | None) -> list[str]:
        """Return the command line; `batch` is in requests."""
        return [
            *(str(found.python), launcher.__file__, str(spec.socket), "serve"),
            *("--served-model-name", spec.manifest.name.display),
            # Where the launcher fails to move the server to the socket, this is where it listens;
            # port 0 is any free one.
            *("--host", "127.0.0.1", "--port", "0"),
            "--allow-cold-interpreter-cache",
            *_files(spec),
            *_graph(spec),
            *_for_task(spec, batch),
        ]

    def warm(self, spec: LaunchSpec, found: Found) -> tuple[list[str], str] | None:
        """Return the command that compiles, and what the compiled code depends on.

        None for an engine that embeds: MAX's command takes a model that can do both for one that
        generates.
        """
        if spec.task == "embed":
            return None
        graph = _graph(spec)
        argv = [
            *(str(found.python), launcher.__file__, str(spec.socket), "warm-cache"),
            *_files(spec),
            *graph,
            # The batch changes the cache of keys and values that it makes, and nothing it compiles.
            *("--max-batch-size", "1"),
        ]
        return argv, " ".join(graph)


def _files(spec: LaunchSpec) -> list[str]:
    """Return the options that name the model's files."""
    weights = _gguf(spec.directory)
    named = ["--weight-path", str(weights)] if weights is not None else []
    return ["--model", str(spec.directory), *named, *quantized.options(spec)]


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
