"""What a load gets out of a server as a whole: tokens and requests per second, and errors."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from hyperllama_nb.bench.metrics import run_of
from hyperllama_nb.bench.records import Request


@dataclass(frozen=True)
class Objectives:
    """Limits in seconds that a good request keeps; None sets no limit."""

    ttft: float | None = None
    tpot: float | None = None
    e2e: float | None = None


@dataclass(frozen=True)
class Window:
    """A span of the run's clock, in seconds; `steady` tells that ramps are outside it."""

    start: float
    end: float
    steady: bool

    @property
    def seconds(self) -> float:
        """Return its length."""
        return self.end - self.start


@dataclass(frozen=True)
class System:
    """Rates per second in the window of one block; shares run from 0 to 1, over all requests.

    `in_flight` is the time average of the number of requests under way, an exact step function as
    in AIPerf's sweep line; vLLM counts them per second.
    """

    output_rate: float | None
    prompt_rate: float | None
    request_rate: float | None
    in_flight: float | None
    failed_share: float | None
    incomplete_share: float | None
    steady: bool


def measured(requests: Sequence[Request]) -> list[Request]:
    """Return the requests that are no warm-up."""
    return [request for request in requests if not request.warmup]


def window(requests: Sequence[Request]) -> Window | None:
    """Return the span in which a closed load of c was full, or the whole span of an open load.

    It begins when the c-th request was sent and ends when the c-th last one was finished; with
    too few requests for that it is the whole span and not `steady`. vLLM divides by the whole
    run; MAX leaves out c requests at each end.
    """
    if not requests:
        return None
    sent = sorted(request.sent for request in requests)
    ends = sorted(request.finished for request in requests)
    together = requests[0].concurrency
    if together is None:
        return Window(min(request.scheduled for request in requests), ends[-1], steady=True)
    if len(requests) >= 2 * together and ends[-together] > sent[together - 1]:
        return Window(sent[together - 1], ends[-together], steady=True)
    return Window(sent[0], ends[-1], steady=False)


def is_good(request: Request, objectives: Objectives) -> bool | None:
    """Tell whether a request succeeded within every limit; None if one cannot be told.

    An answer of one token has no time per output token and keeps that limit; vLLM takes 0 for it.
    """
    if request.status != "succeeded":
        return False
    run = run_of(request)
    checks = [(objectives.ttft, run.time_to_first_token), (objectives.e2e, run.latency)]
    if run.output_tokens is None or run.output_tokens > 1:
        checks.append((objectives.tpot, run.time_per_output_token))
    set_ = [(limit, value) for limit, value in checks if limit is not None]
    if any(value is not None and value > limit for limit, value in set_):
        return False
    return None if any(value is None for _, value in set_) else True


def system(requests: Sequence[Request]) -> System:
    """Return the numbers of one target's load in one block; warm-ups are left out.

    Output tokens of a request are spread evenly over its texts and count where they arrived;
    prompts and requests count where they finished. A count that the server did not tell makes its
    rate None: a sum without it would be too low.
    """
    kept = measured(requests)
    span = window(kept)
    if span is None or span.seconds <= 0:
        return System(None, None, None, None, None, None, steady=False)
    done = [request for request in kept if request.status == "succeeded"]
    inside = [request for request in done if span.start <= request.finished <= span.end]
    tokens = [_tokens_in(request, span) for request in done]
    prompts = [request.prompt_tokens for request in inside]
    return System(
        output_rate=_rate(tokens, span),
        prompt_rate=_rate(prompts, span),
        request_rate=len(inside) / span.seconds,
        in_flight=sum(_seconds_in(request, span) for request in kept) / span.seconds,
        failed_share=sum(each.status == "failed" for each in kept) / len(kept),
        incomplete_share=sum(each.status == "incomplete" for each in kept) / len(kept),
        steady=span.steady,
    )


def _seconds_in(request: Request, span: Window) -> float:
    start = request.sent if request.rate is None else request.scheduled
    return max(0.0, min(request.finished, span.end) - max(start, span.start))


def _tokens_in(request: Request, span: Window) -> float | None:
    if request.output_tokens is None:
        return None
    if not request.texts:
        return 0.0
    inside = bisect_right(request.texts, span.end) - bisect_left(request.texts, span.start)
    return request.output_tokens * inside / len(request.texts)


def _rate(counts: Sequence[float | None], span: Window) -> float | None:
    known = [count for count in counts if count is not None]
    return sum(known) / span.seconds if len(known) == len(counts) else None
