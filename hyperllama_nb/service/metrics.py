"""The service's Prometheus metrics: counted as things happen, engines asked when they are read."""

import os
from collections import Counter as Sums
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import psutil
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hyperllama_nb.service.tally import Tallies

if TYPE_CHECKING:
    from hyperllama_nb.service.running import RunningEngine

MOST_MODELS = 20
"""Models that have a label of their own; the others share `other`, so that a scrape stays small."""

STATES = ("loading", "ready", "stopping", "failed")

REFUSALS = frozenset({"busy", "rate_limited", "unauthenticated", "forbidden", "too_large"})
"""The codes of errors that count as rejections: the request was not even tried."""

_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)
_LONG = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_LOADS = (0.5, 1, 2, 5, 10, 20, 40, 60, 120, 300, 600, 900)


class Metrics:
    """The metrics of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._models: dict[str, str] = {}
        self.tallies = Tallies()
        self.requests = self._histogram(
            "request_duration_seconds",
            "Seconds from a request's arrival to the end of its answer; 499 is a client that left.",
            ["route", "code"],
            _LONG,
        )
        self.first_token = self._histogram(
            "ttft_seconds",
            "Seconds from a generating request's arrival to its first piece of text.",
            ["model"],
            _LONG,
        )
        self.inter_token = self._histogram(
            "inter_token_seconds",
            "Mean seconds between two tokens of an answer; one observation for each answer.",
            ["model"],
            _SHORT,
        )
        self.queue_wait = self._histogram(
            "queue_wait_seconds",
            "Seconds that a request waited for a slot of a loaded engine.",
            ["model"],
            _LONG,
        )
        self.loads = self._histogram(
            "engine_load_seconds",
            "Seconds from the launch of an engine to its first answer (ready) or its end (failed).",
            ["model", "outcome"],
            _LOADS,
        )
        self.tokens = self._counter(
            "tokens",
            "Tokens that engines read (prompt; cached: those that were there already) and wrote.",
            ["model", "kind"],
        )
        self.rejections = self._counter(
            "rejections", "Requests that were refused without being tried.", ["reason"]
        )
        self.cancellations = self._counter(
            "cancellations",
            "Requests that were left or ran out of time, by how far they were.",
            ["stage"],
        )
        self.restarts = self._counter(
            "engine_restarts", "Engines that died and were replaced.", ["model"]
        )
        self.structure = self._counter(
            "structure",
            "Answers to requests with a format: the engine was constrained, the service filled "
            "in the values, or answers were validated.",
            ["mode"],
        )
        self.pulled = self._counter("pull_bytes", "Bytes of models that were fetched.", [])

    def _histogram(
        self, name: str, words: str, labels: Sequence[str], buckets: Sequence[float]
    ) -> Histogram:
        return Histogram(
            f"hyperllama_{name}", words, labels, buckets=buckets, registry=self.registry
        )

    def _counter(self, name: str, words: str, labels: Sequence[str]) -> Counter:
        return Counter(f"hyperllama_{name}", words, labels, registry=self.registry)

    def model(self, name: str) -> str:
        """Return the label of a model that is in the store: its name, or `other`."""
        if name in self._models or len(self._models) < MOST_MODELS:
            return self._models.setdefault(name, name)
        return "other"

    def answered(self, route: str, status: int, seconds: float, code: str | None) -> None:
        """Count a request; `code` is that of the error that it ended with."""
        self.requests.labels(route, str(status)).observe(seconds)
        if code in REFUSALS:
            self.rejections.labels(code).inc()

    def used(self, model: str, *, prompt: int, cached: int, output: int) -> None:
        """Count the tokens of one completion, also of one that was broken off."""
        label = self.model(model)
        for kind, count in (("prompt", prompt), ("cached", cached), ("output", output)):
            self.tokens.labels(label, kind).inc(count)

    def generated(self, model: str, first_token: int, evaluation: int, tokens: int) -> None:
        """Observe an answer that came to its end; durations in nanoseconds."""
        label = self.model(model)
        self.first_token.labels(label).observe(first_token / 1e9)
        if tokens > 1:
            self.inter_token.labels(label).observe(evaluation / 1e9 / (tokens - 1))

    def watch(self, engines: Callable[[], Iterable["RunningEngine"]]) -> None:
        """Tell the state of these engines, and the service's memory, at each look."""
        self.registry.register(_Now(self, engines))

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(_Whole(self.registry))


class _Whole(CollectorRegistry):
    """A registry without the times at which each series was made: nobody reads half of it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [s for s in family.samples if not s.name.endswith("_created")]
            yield family


class _Now(Collector):
    """What is true at the moment of reading."""

    def __init__(self, metrics: Metrics, engines: Callable[[], Iterable["RunningEngine"]]) -> None:
        self._metrics = metrics
        self._engines = engines
        self._process = psutil.Process(os.getpid())

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names are fixed, and need not be checked against others."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        running, waiting, memory, asleep = Sums[str](), Sums[str](), Sums[str](), Sums[str]()
        states: Sums[tuple[str, str, str]] = Sums()
        for engine in self._engines():
            label = self._metrics.model(engine.model)
            running[label] += engine.admission.running
            waiting[label] += engine.waiting
            memory[label] += engine.process.memory()
            asleep[label] += int(engine.asleep)
            for state in STATES:
                states[label, engine.backend.name, state] += int(engine.state == state)
        yield _gauge("requests_running", "Requests that have a slot of an engine.", running)
        yield _gauge("queue_depth", "Requests that wait for a load or for a slot.", waiting)
        yield _gauge("engine_memory_bytes", "Memory of an engine's processes.", memory)
        yield _gauge(
            "engine_asleep", "1 for an engine that is stopped until its next request.", asleep
        )
        family = GaugeMetricFamily(
            "hyperllama_engine_state",
            "1 for the state that an engine is in.",
            labels=["model", "backend", "state"],
        )
        for labels, value in states.items():
            family.add_metric(labels, value)
        yield family
        yield GaugeMetricFamily(
            "hyperllama_service_memory_bytes",
            "Resident memory of the service's own process.",
            float(self._process.memory_info().rss),
        )


def _gauge(name: str, words: str, values: Sums[str]) -> Metric:
    family = GaugeMetricFamily(f"hyperllama_{name}", words, labels=["model"])
    for label, value in values.items():
        family.add_metric([label], value)
    return family
