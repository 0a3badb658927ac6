"""Two targets against each other: a paired ratio with its interval, and a word by fixed rules."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from statistics import fmean, stdev
from typing import Any, Literal

from hyperllama_nb.bench.metrics import METRICS
from hyperllama_nb.bench.records import Request
from hyperllama_nb.bench.statistics import mean_interval, percentile
from hyperllama_nb.bench.throughput import measured, system

Verdict = Literal["faster", "slower", "equivalent", "not resolved"]

MARGIN = 0.03
"""A ratio within 3 % of 1 matters to nobody."""

MINIMUM_BLOCKS = 3
COMPARED = ("ttft", "tpot", "e2e", "output_rate")
_MANY = 200


@dataclass(frozen=True)
class Comparison:
    """One number of two targets under one load; a ratio above 1 means that `first` is better.

    `ratio`, `low` and `high` are None with fewer than three blocks that both targets have a value
    in; `difference` is first - second, in the number's unit; `more_blocks` is about how many more
    would settle it.
    """

    metric: str
    label: str
    cell: str
    first: str
    second: str
    blocks: int
    ratio: float | None
    low: float | None
    high: float | None
    level: float
    method: str | None
    difference: float | None
    verdict: Verdict
    more_blocks: int | None
    sentence: str = ""

    def plain(self) -> dict[str, Any]:
        """Return the fields as JSON knows them."""
        return asdict(self)


def by_block(requests: Iterable[Request]) -> dict[tuple[str, str], dict[int, list[Request]]]:
    """Return the requests of each target under each load, block by block."""
    found: dict[tuple[str, str], dict[int, list[Request]]] = {}
    for request in requests:
        blocks = found.setdefault((request.target, request.cell), {})
        blocks.setdefault(request.block, []).append(request)
    return found


def block_values(blocks: Mapping[int, Sequence[Request]], metric: str) -> dict[int, float]:
    """Return the value of each block that has one: its median, or the rate of the whole system."""
    found: dict[int, float] = {}
    for block, requests in blocks.items():
        if metric == "output_rate":
            value = system(requests).output_rate
        else:
            values = METRICS[metric].values
            value = percentile((each for one in measured(requests) for each in values(one)), 50)
        if value:
            found[block] = value
    return found


def label_of(metric: str) -> str:
    """Return what a compared number is called."""
    return "output tokens/s" if metric == "output_rate" else METRICS[metric].label


def compare(
    requests: Iterable[Request],
    first: str,
    second: str,
    cell: str,
    metric: str,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare two targets under one load by the mean log-ratio of their blocks' values."""
    blocks = by_block(requests)
    values = {name: block_values(blocks.get((name, cell), {}), metric) for name in (first, second)}
    return _judge(values, first, second, cell, metric, level, seed)


def compare_all(
    requests: Iterable[Request],
    targets: Sequence[str],
    cells: Sequence[str],
    metrics: Sequence[str] = COMPARED,
    seed: int = 0,
) -> list[Comparison]:
    """Compare every two targets under every load; more than two are corrected by Holm.

    The clearest of m pairs is held to 1 - 0.05 / m, the next to 1 - 0.05 / (m - 1), and so on; a
    pair that stays undecided keeps those after it at its own level.
    """
    pairs, blocks = list(combinations(targets, 2)), by_block(requests)
    results = []
    for cell in cells:
        for metric in metrics:
            values = {name: block_values(blocks.get((name, cell), {}), metric) for name in targets}
            one = [_judge(values, *pair, cell, metric, 0.95, seed) for pair in pairs]
            held, left = {}, len(one)
            for each in sorted(one, key=_clearness, reverse=True):
                pair = (each.first, each.second)
                again = _judge(values, *pair, cell, metric, 1 - 0.05 / left, seed)
                held[pair] = again
                left -= left > 1 and again.verdict != "not resolved"
            results += [held[pair] for pair in pairs]
    return results


def _judge(
    values: Mapping[str, Mapping[int, float]],
    first: str,
    second: str,
    cell: str,
    metric: str,
    level: float,
    seed: int,
) -> Comparison:
    """Compare two targets by the values of the blocks that both have one in."""
    both = sorted(set(values[first]) & set(values[second]))
    pairs = [(values[first][block], values[second][block]) for block in both]
    more = metric == "output_rate" or METRICS[metric].more_is_better
    logs = [math.log(one / other) * (1 if more else -1) for one, other in pairs]
    found = mean_interval(logs, level, seed)
    word: Verdict = "not resolved" if found is None else verdict(found.mean, found.low, found.high)
    result = Comparison(
        metric,
        label_of(metric),
        cell,
        first,
        second,
        len(pairs),
        None if found is None else math.exp(found.mean),
        None if found is None else math.exp(found.low),
        None if found is None else math.exp(found.high),
        level,
        None if found is None else found.method,
        fmean(one - other for one, other in pairs) if pairs else None,
        word,
        _more(logs) if word == "not resolved" else None,
    )
    return replace(result, sentence=sentence(result))


def verdict(mean: float, low: float, high: float, margin: float = MARGIN) -> Verdict:
    """Return the word for a log-ratio and its interval.

    "faster" and "slower": the interval leaves out 0 and the effect is over the margin;
    "equivalent": the whole interval is within it; "not resolved": everything else.
    """
    edge = math.log1p(margin)
    if low > 0 and mean > edge:
        return "faster"
    if high < 0 and mean < -edge:
        return "slower"
    return "equivalent" if -edge <= low and high <= edge else "not resolved"


def noise_floor(same: Iterable[Comparison]) -> float | None:
    """Return the share below which differences are not visible, of targets that are the same.

    It is the farthest end of any interval of an A/A run: 0.04 means 4 %. None if nothing is known.
    """
    ends = [abs(math.log(end)) for one in same for end in (one.low, one.high) if end is not None]
    return math.expm1(max(ends)) if ends else None


def sentence(found: Comparison) -> str:
    """Return what was found, for people."""
    where = f"{found.label} at {found.cell}"
    if found.ratio is None or found.low is None or found.high is None:
        return (
            f"{where}: {found.first} and {found.second} cannot be compared, since only "
            f"{found.blocks} of at least {MINIMUM_BLOCKS} blocks have a value of both."
        )
    numbers = f"{found.ratio:.2f}x [{found.low:.2f}, {found.high:.2f}], {found.blocks} blocks"
    if found.verdict == "not resolved":
        need = (
            "" if found.more_blocks is None else f"; about {found.more_blocks} more blocks may do"
        )
        both = f"{found.first} and {found.second}"
        return f"{where}: the difference of {both} is not resolved ({numbers}){need}."
    word = "equivalent to" if found.verdict == "equivalent" else f"{found.verdict} than"
    return f"{where}: {found.first} is {word} {found.second} ({numbers})."


def _clearness(found: Comparison) -> float:
    if found.ratio is None or found.low is None or found.high is None:
        return -1.0
    width = math.log(found.high / found.low)
    return abs(math.log(found.ratio)) / width if width else math.inf


def _more(logs: Sequence[float]) -> int | None:
    """Return about how many more blocks would take the interval off the line it crosses."""
    if len(logs) < MINIMUM_BLOCKS:
        return MINIMUM_BLOCKS - len(logs)
    effect, edge = abs(fmean(logs)), math.log1p(MARGIN)
    gap = effect if effect > edge else edge - effect
    if not gap:
        return None
    need = math.ceil((2 * stdev(logs) / gap) ** 2) - len(logs)
    return max(1, need) if need <= _MANY else None
