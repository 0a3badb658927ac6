"""What would happen if a model were loaded now: where it would run, and whether it fits."""

import asyncio
import dataclasses
from collections.abc import Iterable
from typing import Any

from hyperllama_nb.errors import HyperLlamaError, NotEnoughMemoryError
from hyperllama_nb.hardware import Hardware, detect
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.service.launching import choose, shrunk
from hyperllama_nb.service.manager import Manager
from hyperllama_nb.service.running import RunningEngine


async def foresee(manager: Manager, manifest: Manifest) -> dict[str, Any]:
    """Return the plan for a model as JSON, the same one that its load would follow.

    `verdict` is `loaded`, `fits`, `smaller` (with fewer requests at a time than planned), `room`
    (once other models are unloaded, which a load does by itself when they are idle), `no` (there is
    not the memory) or `cannot` (whatever is free), and `reason` says why, in words. `memory` has
    the bytes of `engines.memory.Need`, `batch` the requests at a time, `planned` how many they were
    to be.
    """
    model = manifest.name.display
    engine = manager.engines.get(manifest.name.key)
    if engine is not None and engine.resident:
        need = None if engine.need is None else engine.need.plain()
        return {"model": model, "verdict": "loaded", "reason": "", "memory": need}
    try:
        backend, spec = await choose(
            manager.backends, None, manifest, manager.store, manager.settings, None
        )
        hardware = await asyncio.to_thread(detect)
        others = [e for e in manager.engines.values() if e.resident]
        reason, verdict = "", "fits"
        try:
            fitted = shrunk(backend, spec, hardware)
        except NotEnoughMemoryError as error:
            reason, verdict = str(error), "room"
            fitted = shrunk(backend, spec, without(others, hardware))
        memory = backend.memory(fitted).plain()
    except HyperLlamaError as error:
        verdict = "no" if isinstance(error, NotEnoughMemoryError) else "cannot"
        return {"model": model, "verdict": verdict, "reason": str(error), "memory": None}
    if verdict == "fits" and fitted.batch != spec.batch:
        verdict = "smaller"
        reason = (
            f"There is memory for {fitted.batch} requests at a time, not for the {spec.batch} that "
            "were planned."
        )
    return {
        "model": model,
        "verdict": verdict,
        "reason": reason,
        "memory": memory,
        "backend": backend.name,
        "device": fitted.placement.device,
        "context": fitted.context,
        "batch": fitted.batch,
        "planned": spec.batch,
    }


def without(engines: Iterable[RunningEngine], hardware: Hardware) -> Hardware:
    """Return the machine as it would be without these engines."""
    free, gpus = 0, dict.fromkeys((device.index for device in hardware.devices), 0)
    for engine in engines:
        placement = engine.spec.placement
        if placement.device == "cpu":
            free += engine.process.memory() or 0
        elif engine.need is not None:
            for index in placement.indices:
                gpus[index] = gpus.get(index, 0) + engine.need.total // len(placement.indices)
    devices = tuple(
        dataclasses.replace(device, free=min(device.memory, device.free + gpus[device.index]))
        for device in hardware.devices
    )
    available = min(hardware.memory_total, hardware.memory_available + free)
    return dataclasses.replace(hardware, memory_available=available, devices=devices)
