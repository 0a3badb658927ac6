"""Snapshots for monitors: counters and gauges of all clients' requests, engines and the machine."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from hyperllama_nb import hardware
from hyperllama_nb.engines.gauges import Gauges
from hyperllama_nb.engines.openai import Wire
from hyperllama_nb.errors import HyperLlamaError
from hyperllama_nb.service.manager import Manager
from hyperllama_nb.service.running import RunningEngine

FRESH = 0.15
"""Seconds for which one snapshot answers everybody: many monitors cost little more than one."""

PAUSE = 2.0
"""Seconds between two questions to an engine for its own metrics: some answer with 2,000 lines."""

PATIENCE = 3.0
"""Seconds that an engine gets to tell its metrics; one that is put to sleep meanwhile does not."""

Spawn = Callable[[Coroutine[Any, Any, None]], None]


@dataclass
class _Reading:
    """The last that an engine told, and when on the monotonic clock."""

    gauges: Gauges = field(default_factory=Gauges)
    batch: float | None = None
    taken: float = 0.0
    busy: bool = False


class Sampler:
    """Takes the snapshots of one service. All methods belong to its event loop.

    An engine is asked for its own metrics only after it had something to do, outside of what keeps
    engines awake: so a monitor neither wakes an engine nor keeps it from its sleep, and what an
    idle engine told last stays true.
    """

    def __init__(self, manager: Manager, spawn: Spawn) -> None:
        self._manager, self._spawn = manager, spawn
        self._service = secrets.token_hex(4)
        self._readings: WeakKeyDictionary[RunningEngine, _Reading] = WeakKeyDictionary()
        self._lock = asyncio.Lock()
        self._accelerators = True
        self._last: dict[str, Any] = {"clock": float("-inf")}

    async def take(self, model: str | None = None) -> dict[str, Any]:
        """Return a snapshot, of one model by its displayed name or of all.

        `clock` is monotonic seconds and `service` names this life of the service: differences
        between two snapshots are rates where `service` is the same. `models` has totals since the
        service's start, `engines` what is loaded now; sizes in bytes, processor time in seconds.
        None is unknown.
        """
        async with self._lock:
            if time.monotonic() - self._last["clock"] > FRESH:
                self._last = await self._look()
        if model is None:
            return self._last
        wanted = model.lower()
        tallies, engines = self._last["models"].items(), self._last["engines"]
        return {
            **self._last,
            "models": {name: tally for name, tally in tallies if name.lower() == wanted},
            "engines": [engine for engine in engines if engine["model"].lower() == wanted],
        }

    async def _look(self) -> dict[str, Any]:
        engines = list(self._manager.engines.values())
        machine, used = await asyncio.to_thread(self._measure, engines)
        # counters and clock belong to one moment
        return {
            "clock": round(time.monotonic(), 4),
            "service": self._service,
            "machine": machine,
            "models": {n: tally.plain() for n, tally in self._manager.metrics.tallies.items()},
            "engines": [self._engine(e, *found) for e, found in zip(engines, used, strict=True)],
        }

    def _measure(
        self, engines: list[RunningEngine]
    ) -> tuple[dict[str, Any], list[tuple[int, float]]]:
        """Look at the machine and at the engines' processes; runs in a thread."""
        machine = hardware.sample(accelerators=self._accelerators)
        # a machine does not grow any, and to look for them is dear
        self._accelerators = bool(machine["devices"])
        return machine, [(e.process.memory(), e.process.cpu_seconds()) for e in engines]

    def _engine(self, engine: RunningEngine, memory: int, seconds: float) -> dict[str, Any]:
        reading = self._reading(engine)
        running = engine.admission.running
        return {
            "model": engine.model,
            "pid": engine.process.pid,
            "state": "asleep" if engine.asleep else engine.state,
            "message": engine.message,
            "running": running,
            "queued": engine.waiting,
            "slots": engine.admission.slots,
            "batch": reading.batch if running else 0.0,
            "cache_used": reading.gauges.cache_used,
            "cache_total": reading.gauges.cache_total,
            "memory": memory or None,
            "cpu_seconds": round(seconds, 3),
        }

    def _reading(self, engine: RunningEngine) -> _Reading:
        """Return the last reading, and begin a new one where it is due."""
        reading = self._readings.setdefault(engine, _Reading())
        due = reading.taken + PAUSE
        changed = engine.users > 0 or engine.idle_since > reading.taken
        able = engine.state == "ready" and "metrics" in engine.backend.capabilities(engine.spec)
        if able and changed and not (engine.asleep or reading.busy) and time.monotonic() >= due:
            reading.busy = True
            self._spawn(self._read(engine, reading))
        return reading

    async def _read(self, engine: RunningEngine, reading: _Reading) -> None:
        began, before = time.monotonic(), reading.gauges
        # what stays if it does not tell: the counts from which the next batch is reckoned
        told = Gauges(rows=before.rows, steps=before.steps)
        try:
            with contextlib.suppress(HyperLlamaError, OSError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    told = Gauges.read(await self._wire(engine).metrics())
        finally:
            # by its beginning, since what was done meanwhile may not be in it
            reading.taken = began
            reading.batch = told.batch_since(before) or reading.batch
            reading.gauges, reading.busy = told, False

    @staticmethod
    def _wire(engine: RunningEngine) -> Wire:
        """Return a way to the engine that does not keep it awake."""
        assert engine.wire is not None, "a ready engine has one"
        return Wire(engine.wire.address)
