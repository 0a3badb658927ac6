"""What the engine counts, as Prometheus text under the names that MAX gives it."""

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence

_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_RATES = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


class Histogram:
    """Observations by size; `bounds` are the upper ends of the buckets."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str) -> Iterator[str]:
        """Yield the histogram's lines."""
        base, _, labels = name.partition("{")
        labels = f"{labels[:-1]}," if labels else ""
        yield f"# TYPE {base} histogram"
        so_far = 0
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            so_far += count
            yield f'{base}_bucket{{{labels}le="{bound}"}} {so_far}'
        tail = f"{{{labels[:-1]}}}" if labels else ""
        yield f"{base}_sum{tail} {self.total:.6g}"
        yield f"{base}_count{tail} {so_far}"


class Metrics:
    """The engine's counts; durations are in milliseconds, as MAX's are."""

    def __init__(self) -> None:
        self.requests: dict[str, int] = {}
        self.counters = dict.fromkeys(
            ("num_input_tokens", "num_output_tokens", "cache_hits_tokens", "cache_misses_tokens"), 0
        )
        self.gauges = dict.fromkeys(
            ("num_requests_running", "num_requests_queued", "cache_num_used_blocks"), 0
        )
        self.gauges["cache_num_total_blocks"] = 0
        self.request_time = Histogram(_MS)
        self.first = Histogram(_MS)
        self.gap = Histogram(_MS)
        self.batch = {kind: Histogram(_SIZES) for kind in ("CE", "TG")}
        self.execution = {kind: Histogram(_MS) for kind in ("CE", "TG")}
        self.prompt_rate = Histogram(_RATES)
        self.output_rate = Histogram(_RATES)

    def step(self, *, rows: int, prompt: int, output: int, seconds: float) -> None:
        """Count a step of `rows` sequences, which read `prompt` tokens and made `output`."""
        kind = "CE" if prompt else "TG"
        self.batch[kind].observe(rows)
        self.execution[kind].observe(1e3 * seconds)
        if prompt:
            self.prompt_rate.observe(prompt / max(seconds, 1e-9))
        if output:
            self.output_rate.observe(output / max(seconds, 1e-9))

    def answered(self, code: int, path: str, began: float) -> None:
        """Count a request that began at a time of the monotonic clock."""
        name = f'{{code="{code}",path="{path}"}}'
        self.requests[name] = self.requests.get(name, 0) + 1
        if code == 200:
            self.request_time.observe(1e3 * (time.monotonic() - began))

    def text(self) -> str:
        """Return everything in Prometheus's text format."""
        return "\n".join([*self._lines(), ""])

    def _lines(self) -> Iterator[str]:
        yield "# TYPE maxserve_request_count_total counter"
        for labels, count in self.requests.items():
            yield f"maxserve_request_count_total{labels} {count}"
        for name, count in self.counters.items():
            yield f"# TYPE maxserve_{name}_total counter"
            yield f"maxserve_{name}_total {count}"
        for name, count in self.gauges.items():
            yield f"# TYPE maxserve_{name} gauge"
            yield f"maxserve_{name} {count}"
        yield from self.request_time.lines("maxserve_request_time_milliseconds")
        yield from self.first.lines("maxserve_time_to_first_token_milliseconds")
        yield from self.gap.lines("maxserve_itl_milliseconds")
        for kind, sizes in self.batch.items():
            yield from sizes.lines(f'maxserve_batch_size{{batch_type="{kind}"}}')
        for kind, times in self.execution.items():
            name = "maxserve_batch_execution_time_milliseconds"
            yield from times.lines(f'{name}{{batch_type="{kind}"}}')
        name = "throughput_tokens_per_second"
        yield from self.prompt_rate.lines(f"maxserve_batch_prompt_{name}")
        yield from self.output_rate.lines(f"maxserve_batch_generation_{name}")
