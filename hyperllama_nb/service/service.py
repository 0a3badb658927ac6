"""The service object: store, engines, pulls, listeners, and how long it lives."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import httpx
from aiohttp import web

from hyperllama_nb._version import __version__
from hyperllama_nb.engines.base import Backend, load_backends
from hyperllama_nb.errors import AuthenticationError, ConflictError, EngineMissingError
from hyperllama_nb.models.sources.hosts import Policy
from hyperllama_nb.models.store import Store
from hyperllama_nb.models.uploads import Uploads
from hyperllama_nb.runtime import ENVIRONMENT_RELEVANT, PROTOCOL, runtime_dir
from hyperllama_nb.service.config import HyperLlamaService
from hyperllama_nb.service.manager import Manager
from hyperllama_nb.service.metrics import Metrics
from hyperllama_nb.service.pulls import Pulls
from hyperllama_nb.service.reading import runs_as_it_is
from hyperllama_nb.service.samples import Sampler

log = logging.getLogger(__name__)

FIRST_CALL = 15.0
"""Seconds that a new service waits for the client that started it, however short it lingers."""


class Service:
    """What answers the Ollama API, in a process of its own or in a thread of a kernel.

    Everything but the constructor belongs to one event loop.
    """

    def __init__(
        self,
        *,
        host: Literal["process", "kernel"] = "process",
        settings: HyperLlamaService | None = None,
        backends: dict[str, Backend] | None = None,
    ) -> None:
        self.settings = settings or HyperLlamaService()
        for name in self.settings.trait_names(config=True):
            # Defaults come from the environment: a wrong one is told now, not to the first request.
            getattr(self.settings, name)
        self.host = host
        self.version = __version__
        self.store = Store(Path(self.settings.models_dir) if self.settings.models_dir else None)
        self.backends = load_backends() if backends is None else backends
        self.metrics = Metrics()
        self.manager = Manager(self.store, self.backends, self.settings, self.metrics)
        self.manager.last.kept = host == "process"
        self.metrics.watch(self.manager.engines.values)
        self.sampler = Sampler(self.manager, self._spawn)
        hosts = frozenset(host.lower() for host in self.settings.pull_hosts)
        runs = partial(runs_as_it_is, self.backends, self.settings)
        policy = Policy(hosts=hosts, runs=runs)
        warm = self.manager.warming.warm
        self.pulls = Pulls(self.store, policy, self.metrics.pulled.inc, warm)
        self.stopping = asyncio.Event()
        self.runner: web.AppRunner | None = None
        self._listeners: list[str] = []
        self._started = self._last_active = time.monotonic()
        self._active = 0
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to live: expire models, and the service itself unless a kernel hosts it."""
        self.manager.start()
        self._spawn(asyncio.to_thread(Uploads(self.store).sweep))
        if self.host == "process":
            self._spawn(self._linger())

    async def close(self) -> None:
        """End pulls and engines; returns when none of their processes is left."""
        for task in self._tasks:
            task.cancel()
        await self.pulls.close()
        await self.manager.close()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- lifetime ------------------------------------------------------------------------------

    @contextmanager
    def active(self) -> Iterator[None]:
        """Keep the service alive during the block."""
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1
            self._last_active = time.monotonic()
            self._changed.set()
            self._changed = asyncio.Event()

    async def _linger(self) -> None:
        """Stop once nobody has needed the service for long enough."""
        while True:
            left: float | None = None
            if self._active == 0:
                due = self._last_active + self.settings.linger
                left = max(due, self._started + FIRST_CALL) - time.monotonic()
                if left <= 0:
                    log.info("nobody needed the service for %.0f s", self.settings.linger)
                    self.stopping.set()
                    return
            changed = asyncio.ensure_future(self._changed.wait())
            try:
                await asyncio.wait({changed}, timeout=left)
            finally:
                changed.cancel()

    def stop_soon(self, *, wait: bool) -> None:
        """End the service, after the running streams if `wait`."""
        if wait and self.manager.busy:
            self._spawn(self._stop_when_quiet())
        else:
            self.stopping.set()

    async def _stop_when_quiet(self) -> None:
        await self.manager.quiet()
        self.stopping.set()

    # -- TCP -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[str]:
        """Answer on a TCP address too, for the duration of the block.

        Raises ConflictError that names the port's owner, where it says who it is.
        """
        assert self.runner is not None, "requests come through the runner"
        site = web.TCPSite(self.runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise ConflictError(
                f"Cannot listen on {host}:{port}: {error.strerror}. {await _owner(host, port)} "
                "Choose another port (`--port`)."
            ) from error
        # Port 0 asks for any free one, so what was bound is told, not what was asked for.
        bound = self.runner.addresses[-1]
        address = f"{bound[0]}:{bound[1]}"
        self._listeners.append(address)
        try:
            yield address
        finally:
            self._listeners.remove(address)
            await site.stop()

    # -- telling -------------------------------------------------------------------------------

    def hear_of(self, program: str) -> None:
        """Take note of a backend's program in the environment of a client."""
        for backend in self.backends.values():
            backend.hear_of(program)

    async def status(self) -> dict[str, Any]:
        """Return what `/admin/status` answers."""
        return {
            "protocol": PROTOCOL,
            "version": self.version,
            "pid": os.getpid(),
            "tasks": len(asyncio.all_tasks()),
            "host": self.host,
            "prefix": sys.prefix,
            "runtime_dir": str(runtime_dir()),
            "models_dir": str(self.store.root),
            "uptime": round(time.monotonic() - self._started, 3),
            "linger": self.settings.linger,
            "env": {name: os.environ[name] for name in ENVIRONMENT_RELEVANT if name in os.environ},
            "backends": await asyncio.to_thread(self._programs),
            "listeners": list(self._listeners),
            "leases": [lease.status() for lease in self.manager.leases.values()],
            "engines": [engine.status() for engine in self.manager.engines.values()],
        }

    def _programs(self) -> dict[str, dict[str, str]]:
        """Return each backend's program and version, or why there is none."""
        found: dict[str, dict[str, str]] = {}
        for name, backend in self.backends.items():
            try:
                info = backend.available()
            except EngineMissingError as error:
                found[name] = {"error": str(error)}
            else:
                found[name] = {"path": str(info.path), "version": info.version}
        return found


async def _owner(host: str, port: int) -> str:
    """Return a sentence on who has the port, where it answers like Ollama."""
    try:
        async with httpx.AsyncClient(timeout=1) as client:
            answer = await client.get(f"http://{host}:{port}/api/version")
            if answer.json().get("code") == AuthenticationError.code:
                return "Another HyperLlama service, which asks for keys, has the port."
            version = answer.json()["version"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
        return "Another program has the port."
    who = "Another HyperLlama service" if "hyperllama" in str(version) else "Ollama"
    return f"{who} (version {version}) answers there."
