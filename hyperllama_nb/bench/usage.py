"""What an engine uses while it is measured: memory, processor, accelerator."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hyperllama_nb.errors import HyperLlamaError

if TYPE_CHECKING:
    from hyperllama_nb.client import Client

INTERVAL = 0.5
"""Seconds between two samples: seldom enough not to be felt by the engine that is measured."""


@dataclass
class Usage:
    """Sums over the samples of one target; the properties are None where nothing was sampled.

    `memory_peak` is the most bytes that the engine's processes held together in any sample;
    `others` are the other models that were loaded in one.
    """

    memory_peak: int | None = None
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    gpu_sum: float = 0.0
    gpu_samples: int = 0
    others: set[str] = field(default_factory=set)

    @property
    def cpu_cores(self) -> float | None:
        """Return processor seconds used / seconds watched: how many cores were busy."""
        return self.cpu_seconds / self.seconds if self.seconds else None

    @property
    def gpu_share(self) -> float | None:
        """Return the mean busy share of the accelerators, from 0 to 1."""
        return self.gpu_sum / self.gpu_samples if self.gpu_samples else None

    def plain(self) -> dict[str, float | int | None]:
        """Return the figures as a summary keeps them."""
        return {
            "memory_peak": self.memory_peak,
            "cpu_cores": self.cpu_cores,
            "gpu_share": self.gpu_share,
        }


class _Watch:
    def __init__(self, client: "Client", model: str, usage: Usage) -> None:
        self._client, self._model, self._usage = client, model, usage
        self._last: tuple[int, float, float] | None = None

    def take(self) -> None:
        """Add one sample; a service that does not answer leaves a gap."""
        try:
            sample = self._client.samples()
        except HyperLlamaError:
            self._last = None
            return
        engines = {each["model"]: each for each in sample["engines"]}
        engine = engines.pop(self._model, None)
        self._usage.others |= engines.keys()
        if engine is None:
            return
        self._add(engine, float(sample["clock"]))
        for device in sample["machine"]["devices"]:
            if device["utilisation"] is not None:
                self._usage.gpu_sum += device["utilisation"] / 100
                self._usage.gpu_samples += 1

    def _add(self, engine: dict[str, Any], clock: float) -> None:
        usage = self._usage
        if engine["memory"] is not None:
            usage.memory_peak = max(usage.memory_peak or 0, engine["memory"])
        if engine["cpu_seconds"] is None:
            return
        now = (engine["pid"], clock, float(engine["cpu_seconds"]))
        if self._last and self._last[0] == now[0]:
            usage.seconds += now[1] - self._last[1]
            usage.cpu_seconds += max(0.0, now[2] - self._last[2])
        self._last = now


@contextmanager
def watching(client: "Client", model: str, usage: Usage) -> Iterator[None]:
    """Sample a model's engine in a thread for the duration of the block."""
    watch, over = _Watch(client, model, usage), threading.Event()
    watch.take()

    def go_on() -> None:
        while not over.wait(INTERVAL):
            watch.take()

    thread = threading.Thread(target=go_on, name="bench-usage", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        watch.take()
