"""One engine without a service around it, planned and launched as the service would do it."""

import dataclasses
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hyperllama_nb.engines.base import Backend, LaunchSpec, load_backends
from hyperllama_nb.engines.openai import Wire
from hyperllama_nb.engines.process import EngineProcess
from hyperllama_nb.models import Store
from hyperllama_nb.runtime import engine_log
from hyperllama_nb.service.config import HyperLlamaService
from hyperllama_nb.service.launching import choose, plan

PATIENCE = 900.0
"""Seconds that a load may take: a first one compiles the model."""


@dataclass(frozen=True)
class Alone:
    """A running engine and what it was launched with."""

    backend: Backend
    spec: LaunchSpec
    process: EngineProcess
    wire: Wire

    @property
    def model(self) -> str:
        """Return the name that the engine knows its model by."""
        return self.spec.manifest.name.display

    async def answer(self, ids: list[int], tokens: int) -> None:
        """Complete a prompt with up to so many tokens."""
        params = {"model": self.model, "max_tokens": tokens, "temperature": 0}
        async for _ in self.wire.stream(ids, self.backend.params(self.spec, params)):
            pass


async def planned(
    model: str, backend: str | None = None, *, context: int | None = None, batch: int = 0
) -> tuple[Backend, LaunchSpec]:
    """Return how the service would launch a model; 0 and None leave the choice to it."""
    store, settings = Store(), HyperLlamaService(num_parallel=batch)
    if context is not None:
        settings.context_length = context
    manifest, backends = store.get(model), load_backends()
    if backend is None:
        return await choose(backends, None, manifest, store, settings, context)
    return backends[backend], await plan(manifest, store, backends[backend], settings, context)


@asynccontextmanager
async def engine_alone(backend: Backend, spec: LaunchSpec) -> AsyncIterator[Alone]:
    """Run an engine for the duration of the block; raises EngineStartError."""
    home = spec.workdir.with_name(secrets.token_hex(4))
    spec = dataclasses.replace(spec, socket=home / spec.socket.name, workdir=home)
    home.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = spec.manifest.name.display
    process = EngineProcess(spec.socket, home, engine_log(f"alone-{home.name}"))
    try:
        await process.start(backend.command(spec), backend)
        wire = await process.wait_ready(name, PATIENCE, spec.task)
        yield Alone(backend, spec, process, wire)
    finally:
        await process.stop()
