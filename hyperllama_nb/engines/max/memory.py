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

    `copies` are bytes in memory for each byte of the weights as they run, `tables` the same for the
    table in float32 in which tokens are looked up beside four-bit weights, and `engine` the bytes
    that its processes take however large the model is.
    """

    copies: float
    tables: float
    engine: int


SERVE = Shape(copies=1.75, tables=2.5, engine=520 * MIB)
"""`max serve`: a server and a worker, each with MAX and its libraries (250 and 270 MiB). The file
is mapped, and most matrices are packed anew; the table is made by way of copies that stay."""

LEAN = Shape(copies=1.5, tables=2.2, engine=410 * MIB)
"""The lean engine: one process with MAX and its libraries. The file is mapped, and the matrices
that meet one input are stacked into new ones, which are half of a Llama's."""


def need(spec: LaunchSpec, shape: Shape) -> Need:
    """Return what an engine takes at most: weights, the cache of keys and values, and itself.

    weights = copies * bytes of the weights as they run + tables * 4 * vocabulary * embedding length
    (the latter for four-bit weights only); cache = 2 * layers * key-value heads * head size *
    context * batch numbers of 4 bytes, 2 on a GPU with shorter weights, none where an engine
    embeds. `max serve` takes the whole cache at its start, the lean engine as it is used.
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
    if on_cpu:
        table = 4 * manifest.vocab_size * manifest.embedding_length if encoding == "q4_0" else 0
        weights = int(weights * shape.copies + table * shape.tables)
    return Need(weights, cache, shape.engine)


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
