"""Planning a launch: where an engine runs, with which context and batch, and whether it fits."""

import asyncio
import dataclasses
import secrets
from pathlib import Path

from hyperllama_nb.engines.base import Backend, LaunchSpec, context_rung
from hyperllama_nb.errors import NotEnoughMemoryError
from hyperllama_nb.hardware import Hardware, detect
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.runtime import cache_dir, engines_dir
from hyperllama_nb.service.config import HyperLlamaService
from hyperllama_nb.service.running import RunningEngine

UNKNOWN_BATCH = 64
"""Requests let through at once where the engine sizes its batch itself; it queues what is more."""


async def plan(
    manifest: Manifest,
    directory: Path,
    backend: Backend,
    settings: HyperLlamaService,
    context: int | None,
) -> LaunchSpec:
    """Return how to launch the model with room for `context` tokens (None: the usual length)."""
    home = engines_dir() / secrets.token_hex(4)
    spec = LaunchSpec(
        manifest=manifest,
        directory=directory,
        placement=backend.place(manifest, await asyncio.to_thread(detect)),
        context=context_rung(context or settings.context_length, manifest.context_length),
        batch=settings.num_parallel or None,
        max_queue=settings.max_queue,
        socket=home / "s",
        workdir=home,
        cache=cache_dir(),
    )
    return dataclasses.replace(spec, batch=spec.batch or backend.batch(spec))


async def fit_batch(engine: RunningEngine) -> None:
    """Halve the batch until weights and KV cache fit, or raise NotEnoughMemoryError."""
    hardware: Hardware = await asyncio.to_thread(detect)
    while True:
        try:
            engine.backend.check(engine.spec, hardware)
        except NotEnoughMemoryError:
            batch = engine.spec.batch or 1
            if batch == 1:
                raise
            engine.resize(batch // 2)
        else:
            return
