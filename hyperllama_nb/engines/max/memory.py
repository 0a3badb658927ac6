"""The memory that MAX takes for a model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hyperllama_nb.engines.base import LaunchSpec
from hyperllama_nb.engines.max import devices
from hyperllama_nb.engines.memory import MIB, Need

if TYPE_CHECKING:
    from hyperllama_nb.hardware import Hardware


@dataclass(frozen=True)
class Shape:
    """What one way of launching MAX takes, measured with `benchmarks/memory.py`.

    `copies` are bytes in memory for each byte of the weights as they run, `engine` the bytes that
    its processes take however large the model is.
    """

    copies: float
    engine: int


SERVE = Shape(copies=1.8, engine=540 * MIB)
"""`max serve`: a server and a worker, each with MAX and its libraries; the file is mapped, and the
matrices are packed anew for the processor."""

LEAN = Shape(copies=1.8, engine=400 * MIB)
"""The lean engine: one process with MAX and its libraries."""


def need(spec: LaunchSpec, shape: Shape) -> Need:
    """Return what an engine takes: copies of the weights, the cache of keys and values, and itself.

    The cache is reserved at the start, for the whole batch: 2 · layers · key-value heads · head
    size · context · batch numbers, float32 on a CPU. An engine that embeds has none.
    Raises CannotRunError for weights that the device cannot compute with.
    """
    manifest, on_cpu = spec.manifest, spec.placement.device == "cpu"
    encoding = devices.encoding(manifest, spec.placement)
    weights = manifest.weights_size
    if encoding == "float32" and manifest.encoding == "bfloat16":
        weights *= 2
    cache = 0 if spec.task == "embed" else manifest.kv_bytes(spec.context, spec.batch or 1)
    if not on_cpu and encoding != "float32":
        cache //= 2
    # Beside four-bit weights there is a table in float32, in which tokens are looked up.
    table = 4 * manifest.vocab_size * manifest.embedding_length if encoding == "q4_0" else 0
    return Need(int(weights * (shape.copies if on_cpu else 1)) + table, cache, shape.engine)


def check(needed: Need, spec: LaunchSpec, hardware: "Hardware") -> None:
    """Raise NotEnoughMemoryError, in words, if so much is not free where the engine would run."""
    if spec.placement.device == "cpu":
        needed.check(spec, hardware.memory_available, "of this machine's memory")
        return
    chosen = [
        device
        for device in hardware.devices
        if device.api == spec.placement.api and device.index in spec.placement.indices
    ]
    names = " and ".join(device.name for device in chosen) or "no GPU"
    needed.check(spec, int(devices.usable(chosen)), f"on {names}")
