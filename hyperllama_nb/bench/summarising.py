"""What comes of an experiment as plain JSON: the numbers, the comparisons, what was used."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hyperllama_nb.bench.comparison import compare_all
from hyperllama_nb.bench.experiment import Loaded, Outcome
from hyperllama_nb.bench.metrics import METRICS
from hyperllama_nb.bench.records import Cell, Request
from hyperllama_nb.bench.statistics import summary as statistics
from hyperllama_nb.bench.throughput import measured, system

PLOTTED = frozenset({"ttft", "tpot", "output_rate"})

OUTPUT_RATE = {
    "label": "output tokens/s of the system",
    "unit": "tokens/s",
    "definition": "Output tokens that arrived / seconds in which the load was full, one value per "
    "block; vLLM divides by the whole run.",
    "plotted": True,
}


def summarise(outcome: Outcome, fairness: Sequence[Mapping[str, str]] = ()) -> dict[str, Any]:
    """Return the summary; `fairness` has rows of `rule`, `state` and `reason`.

    Comparisons take the blocks that were measured whole. A number that is unknown is None.
    """
    plan, whole = outcome.plan, set(outcome.blocks)
    names = [target.name for target in plan.targets]
    kept = [request for request in outcome.requests if request.block in whole]
    compared = compare_all(kept, names, [cell.name for cell in plan.cells], seed=plan.seed)
    models = sorted({target.model for target in plan.targets})
    return {
        "title": f"{', '.join(models)}: {', '.join(names)}",
        "complete": outcome.complete,
        "note": outcome.note,
        "blocks": len(whole),
        "targets": names,
        "cells": [
            {
                "label": cell.name,
                "targets": {name: _numbers(outcome.requests, name, cell) for name in names},
                "comparisons": [each.plain() for each in compared if each.cell == cell.name],
            }
            for cell in plan.cells
        ],
        "fairness": [dict(row) for row in fairness],
        "comparable": all(row["state"] != "fail" for row in fairness),
        "loads": [_load(load) for load in outcome.loads],
        "resources": {name: used.plain() for name, used in outcome.usage.items()},
        "definitions": {
            **{
                name: {
                    "label": metric.label,
                    "unit": metric.unit,
                    "definition": metric.definition,
                    "plotted": name in PLOTTED,
                }
                for name, metric in METRICS.items()
            },
            "output_rate": OUTPUT_RATE,
        },
    }


def _numbers(requests: Sequence[Request], name: str, cell: Cell) -> dict[str, Any]:
    own = [each for each in requests if each.target == name and each.cell == cell.name]
    kept = measured(own)
    states = Counter(request.status for request in kept)
    blocks = sorted({request.block for request in kept})
    rates = [system([each for each in kept if each.block == b]).output_rate for b in blocks]
    metrics = {
        key: statistics(value for request in kept for value in metric.values(request))
        for key, metric in METRICS.items()
    }
    return {
        "requests": {
            "succeeded": states["succeeded"],
            "failed": states["failed"],
            "incomplete": states["incomplete"],
            "warm_up": len(own) - len(kept),
        },
        "metrics": {**metrics, "output_rate": statistics(rates)},
    }


def _load(load: Loaded) -> dict[str, Any]:
    return {
        "target": load.target,
        "label": f"block {load.block + 1}" + (", first" if load.first else ""),
        "first": load.first,
        "seconds": load.seconds,
        "phases": [{"name": name, "seconds": seconds} for name, seconds in load.phases],
    }
