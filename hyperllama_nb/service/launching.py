"""Planning a launch: where an engine runs, with which context and batch, and whether it fits."""

import asyncio
import dataclasses
import secrets
from collections.abc import Mapping

from hyperllama_nb.engines.base import Backend, LaunchSpec, context_rung
from hyperllama_nb.errors import (
    CannotRunError,
    EngineMissingError,
    HyperLlamaError,
    NotEnoughMemoryError,
    RequestError,
)
from hyperllama_nb.hardware import Hardware, detect
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.store import Store
from hyperllama_nb.runtime import cache_dir, engines_dir
from hyperllama_nb.service.config import HyperLlamaService
from hyperllama_nb.service.running import RunningEngine

UNKNOWN_BATCH = 64
"""Requests let through at once where the engine sizes its batch itself; it queues what is more."""


async def choose(
    backends: Mapping[str, Backend],
    asked: str | None,
    manifest: Manifest,
    store: Store,
    settings: HyperLlamaService,
    context: int | None,
) -> tuple[Backend, LaunchSpec]:
    """Return the backend for a model, and how it is to launch it.

    It is the one asked for, or else named by the model's options or by the settings, or else the
    first one that is installed and can ever run the model. Raises RequestError for a name that
    nobody has, EngineMissingError or CannotRunError where none can, with the reason of each.
    """
    name = asked or manifest.options.get("backend") or settings.backend
    if name:
        if name not in backends:
            known = ", ".join(sorted(backends)) or "none"
            raise RequestError(f"There is no backend {name!r}. Installed backends: {known}.")
        return backends[name], await plan(manifest, store, backends[name], settings, context)
    hardware = await asyncio.to_thread(detect)
    refusals: list[HyperLlamaError] = []
    for backend in backends.values():
        try:
            await asyncio.to_thread(backend.available)
            spec = await plan(manifest, store, backend, settings, context)
            backend.check(spec, hardware)
        except NotEnoughMemoryError:
            return backend, spec  # room may be made
        except (EngineMissingError, CannotRunError) as error:
            refusals.append(error)
        else:
            return backend, spec
    if len(refusals) == 1:
        raise refusals[0]
    if not refusals:
        raise EngineMissingError(
            'No backend is installed. Install one: `pip install "hyperllama-nb[max]"`.'
        )
    words = " ".join(f"{name}: {error}" for name, error in zip(backends, refusals, strict=True))
    raise type(refusals[0])(f"No backend can run {manifest.name.display}. {words}")


async def plan(
    manifest: Manifest,
    store: Store,
    backend: Backend,
    settings: HyperLlamaService,
    context: int | None,
) -> LaunchSpec:
    """Return how to launch the model with room for `context` tokens (None: the usual length)."""
    home = engines_dir() / secrets.token_hex(4)
    spec = LaunchSpec(
        manifest=manifest,
        directory=store.view(manifest),
        placement=backend.place(manifest, await asyncio.to_thread(detect)),
        # Never below the usual length: a later request without num_ctx would relaunch it.
        context=context_rung(max(context or 0, settings.context_length), manifest.context_length),
        batch=settings.num_parallel or None,
        max_queue=settings.max_queue,
        # llama.cpp takes a path for a host only with this ending.
        socket=home / "s.sock",
        workdir=home,
        cache=cache_dir(),
        source=store.gguf(manifest),
        task="embed" if "embedding" in manifest.capabilities else "generate",
    )
    return dataclasses.replace(spec, batch=spec.batch or backend.batch(spec))


async def fit_batch(engine: RunningEngine) -> None:
    """Halve the batch until weights and KV cache fit.

    Raises NotEnoughMemoryError, with the batch as it was, if they do not fit at all.
    """
    hardware = await asyncio.to_thread(detect)
    fitted = shrunk(engine.backend, engine.spec, hardware)
    if fitted.batch != engine.spec.batch:
        engine.resize(fitted.batch)


def shrunk(backend: Backend, spec: LaunchSpec, hardware: Hardware) -> LaunchSpec:
    """Return the launch with its batch halved until weights and KV cache fit.

    Raises NotEnoughMemoryError, of the smallest batch, if they do not fit at all.
    """
    while True:
        try:
            backend.check(spec, hardware)
        except NotEnoughMemoryError:
            batch = spec.batch or 1
            if batch == 1:
                raise
            spec = dataclasses.replace(spec, batch=batch // 2)
        else:
            return spec
