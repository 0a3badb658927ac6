"""Results of `max benchmark` as a run's numbers, so that they lie over our own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperllama_nb.bench.statistics import ENOUGH
from hyperllama_nb.errors import InvalidFileError

STATISTICS = {"mean": "mean", "p50": "median", "p90": "p90", "p95": "p95", "p99": "p99"}
"""Our names of the statistics, and the beginnings of the fields that hold them."""

METRICS = {
    "ttft": ("ttft_ms", 1e-3),
    "tpot": ("tpot_ms", 1e-3),
    "itl": ("itl_ms", 1e-3),
    "e2e": ("latency_ms", 1e-3),
}
"""Our names of the metrics that mean the same there, the fields and what a unit of them is here.

Its requests end with their stream, ours with their last text: `tpot` and `e2e` differ by that.
"""


def max_benchmark(path: Path | str) -> dict[str, Any]:
    """Return what a result file of `max benchmark` says about one target in one cell.

    It has `label`, `requests`, `metrics` and `in_flight`, as a target in the summary of a run;
    times are in seconds, and a number that the file lacks is None, as is a percentile of too few
    requests, which the tool prints all the same. Its throughputs are left out:
    their percentiles run the other way, and its rate of prompt tokens includes the time in the
    queue. What was in flight on average follows from Little's law: answers per second times their
    mean latency.
    Raises InvalidFileError for another kind of file.
    """
    try:
        found = json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidFileError(f"{path} cannot be read as JSON ({error}).") from None
    if not isinstance(found, dict) or not {"completed", "failures", "mean_ttft_ms"} <= set(found):
        raise InvalidFileError(
            f"{path} is no result of a text run of `max benchmark`: write one with its option "
            "--result-filename."
        )
    metrics = {name: _metric(found, *source) for name, source in METRICS.items()}
    rate, latency = found.get("request_throughput"), metrics["e2e"]["mean"]
    return {
        "label": _label(found),
        "tool": "max benchmark",
        "requests": {
            "succeeded": found["completed"],
            "failed": found["failures"],
            "incomplete": sum(
                bool(each.get("cancelled")) for each in found.get("request_records") or ()
            ),
            "warm_up": found.get("excluded_successful") or 0,
        },
        "metrics": metrics,
        "in_flight": None if rate is None or latency is None else rate * latency,
    }


def _metric(found: Mapping[str, Any], field: str, unit: float) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for name, start in STATISTICS.items():
        value = found.get(f"{start}_{field}")
        # how many gaps it pooled is not in the file, but they are no fewer than its answers
        few = found["completed"] < ENOUGH.get(name, 1)
        values[name] = None if value is None or few else value * unit
    return values


def _label(found: Mapping[str, Any]) -> str:
    rate, together = found.get("request_rate"), found.get("max_concurrency")
    load = f"{rate} requests/s" if rate not in {None, "inf"} else f"{together} at a time"
    return f"{found.get('model_id', 'a model')} on {found.get('backend', 'a server')}, {load}"
