"""Metrics of requests and of the load they make, each with its formula; None where it is unknown.

t0 is when a request was sent (in open loop: when it was due), t1 when the first non-empty text
arrived, tn when the last one did, N the number of output tokens that the server counted.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hyperllama_nb.bench.records import Request


@dataclass(frozen=True)
class Run:
    """One request; times in seconds of a monotonic clock, counts in tokens."""

    sent: float
    first: float | None
    last: float | None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def latency(self) -> float | None:
        """Return tn - t0, in seconds.

        AIPerf and MAX end at the last line of any kind, so a trailing one of counts is in theirs.
        """
        return None if self.last is None else self.last - self.sent

    @property
    def time_to_first_token(self) -> float | None:
        """Return t1 - t0, in seconds.

        A client that stamps the first line of a stream takes a role or an empty text for a token.
        """
        return None if self.first is None else self.first - self.sent

    @property
    def time_per_output_token(self) -> float | None:
        """Return (tn - t1) / (N - 1), in seconds; None for fewer than two tokens or one moment.

        vLLM and inference-perf agree, and MAX but for its tn, which is the stream's end; guidellm's
        TPOT is (tn - t0) / N and includes the prompt. Where the first text bundles tokens, N - 1
        makes an engine look faster than it is.
        """
        if self.first is None or self.last is None or self.output_tokens is None:
            return None
        duration = self.last - self.first
        return duration / (self.output_tokens - 1) if self.output_tokens > 1 and duration else None

    @property
    def decode_rate(self) -> float | None:
        """Return (N - 1) / (tn - t1), in tokens per second; None for fewer than two tokens.

        AIPerf takes 1 / its per-request inter-token latency, which is the same number.
        """
        each = self.time_per_output_token
        return None if each is None else 1 / each

    @property
    def prompt_rate(self) -> float | None:
        """Return uncached prompt tokens / (t1 - t0), in tokens per second: a lower bound.

        Queue and network are in the time, as in MAX's `input_throughput`, which counts cached
        tokens too. llama-bench measures neither HTTP nor sampling. None unless the server told
        both counts, since a warm cache inflates it.
        """
        wait = self.time_to_first_token
        if self.prompt_tokens is None or self.cached_tokens is None or not wait:
            return None
        fresh = self.prompt_tokens - self.cached_tokens
        return fresh / wait if fresh > 0 else None


class Statistic(NamedTuple):
    """Average, least and greatest of the values that are known; all None where none is."""

    average: float | None
    least: float | None
    greatest: float | None


def statistic(values: Iterable[float | None]) -> Statistic:
    """Summarise values; unknown ones are left out."""
    known = [value for value in values if value is not None]
    if not known:
        return Statistic(None, None, None)
    return Statistic(sum(known) / len(known), min(known), max(known))


def run_of(request: Request) -> Run:
    """Return the moments and counts of a record; those of an unsuccessful one are unknown.

    In open loop t0 is the scheduled moment, as MLPerf defines latency: a stalled server must not
    shorten the wait by holding the generator up. vLLM and MAX count from the sending.
    """
    start = request.sent if request.rate is None else request.scheduled
    if request.status != "succeeded":
        return Run(start, None, None)
    texts = request.texts
    return Run(
        start,
        texts[0] if texts else None,
        texts[-1] if texts else None,
        request.prompt_tokens,
        request.cached_tokens,
        request.output_tokens,
    )


def gaps(request: Request) -> list[float]:
    """Return every time between two texts, in seconds; the inter-token latency pools them.

    Texts are not tokens: where an engine bundles tokens, these are gaps between bundles (AIPerf's
    inter-chunk latency), and are not divided; `tokens_per_text` tells how many a bundle has.
    guidellm and AIPerf take one mean per request, (tn - t1) / (N - 1), under this name.
    """
    if request.status != "succeeded":
        return []
    return [after - before for before, after in zip(request.texts, request.texts[1:], strict=False)]


def tokens_per_text(request: Request) -> float | None:
    """Return N / the number of texts; far from 1, gaps between texts say little about tokens."""
    if request.status != "succeeded" or request.output_tokens is None or not request.texts:
        return None
    return request.output_tokens / len(request.texts)


@dataclass(frozen=True)
class Metric:
    """A number with its name, unit and direction; `values` has those of one request."""

    name: str
    label: str
    unit: str
    definition: str
    values: Callable[[Request], Sequence[float]]
    more_is_better: bool = False


def _one(name: str, label: str, unit: str, attribute: str, *, more: bool = False) -> Metric:
    def values(request: Request) -> Sequence[float]:
        value = getattr(run_of(request), attribute)
        return () if value is None else (value,)

    definition = " ".join((getattr(Run, attribute).__doc__ or "").split())
    return Metric(name, label, unit, definition, values, more)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _one("ttft", "time to first token", "s", "time_to_first_token"),
        _one("tpot", "time per output token", "s", "time_per_output_token"),
        Metric("itl", "inter-token latency", "s", " ".join((gaps.__doc__ or "").split()), gaps),
        _one("e2e", "end-to-end latency", "s", "latency"),
        _one("prompt_rate", "prompt tokens/s of a user", "tokens/s", "prompt_rate", more=True),
        _one("decode_rate", "decode tokens/s of a user", "tokens/s", "decode_rate", more=True),
    )
}
"""The numbers of requests by name, in the order of tables; percentiles of rates too run upwards."""
