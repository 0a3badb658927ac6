"""What comes of an experiment as plain JSON: the numbers, the comparisons, what was used."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from hyperllama_nb.bench.comparison import (
    COMPARED,
    Comparison,
    by_block,
    compare,
    compare_all,
    noise_floor,
)
from hyperllama_nb.bench.experiment import Loaded, Outcome
from hyperllama_nb.bench.goodput import attained
from hyperllama_nb.bench.metrics import METRICS
from hyperllama_nb.bench.records import Cell, Request
from hyperllama_nb.bench.statistics import summary as statistics
from hyperllama_nb.bench.throughput import Objectives, measured, system
from hyperllama_nb.bench.validity import drifts, lag

PLOTTED = frozenset({"ttft", "tpot", "output_rate"})

OUTPUT_RATE = {
    "label": "output tokens/s of the system",
    "unit": "tokens/s",
    "definition": "Output tokens that arrived / seconds in which the load was full, one value per "
    "block; vLLM divides by the whole run.",
    "plotted": True,
}


def summarise(
    outcome: Outcome,
    fairness: Sequence[Mapping[str, str]] = (),
    *,
    objectives: Objectives | None = None,
    same: tuple[str, str] | None = None,
    overlays: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the summary; `fairness` has rows of `rule`, `state` and `reason`.

    Comparisons and rates of the system take the blocks that were measured whole. `same` are two
    targets that are one engine, measured twice: they give the noise floor, and the second is
    compared with no other. `overlays` are results of other tools (`importing`), which are shown and
    never compared. A number that is unknown is None.
    """
    plan, whole = outcome.plan, set(outcome.blocks)
    names, cells = [target.name for target in plan.targets], [cell.name for cell in plan.cells]
    kept = [request for request in outcome.requests if request.block in whole]
    others = [name for name in names if same is None or name != same[1]]
    compared = compare_all(kept, others, cells, seed=plan.seed)
    noise = _noise(kept, same, cells, plan.seed)
    limits = objectives or Objectives()
    models = sorted({target.model for target in plan.targets})
    return {
        "title": f"{', '.join(models)}: {', '.join(names)}",
        "complete": outcome.complete,
        "note": outcome.note,
        "blocks": len(whole),
        "targets": names,
        "targets_same": None if same is None else list(same),
        "noise_floor": noise,
        "objectives": asdict(limits),
        "cells": [
            {
                "label": cell.name,
                "concurrency": cell.concurrency,
                "rate": cell.rate,
                "targets": {
                    name: _numbers(outcome.requests, whole, name, cell, limits) for name in names
                },
                "comparisons": [
                    each.plain() | {"above_noise": _above(each, noise)}
                    for each in compared
                    if each.cell == cell.name
                ],
            }
            for cell in plan.cells
        ],
        "drift": drifts(kept, names, cells),
        "overlays": [dict(each) for each in overlays],
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


def _noise(
    requests: Sequence[Request], same: tuple[str, str] | None, cells: Sequence[str], seed: int
) -> dict[str, float] | None:
    """Return by number the share below which no difference is visible; None if nothing tells."""
    if same is None:
        return None
    found = {}
    for metric in COMPARED:
        pairs = [compare(requests, *same, cell, metric, seed=seed) for cell in cells]
        share = noise_floor(pairs)
        if share is not None:
            found[pairs[0].label] = share
    return found or None


def _above(found: Comparison, noise: Mapping[str, float] | None) -> bool | None:
    """Tell whether a difference is greater than what one engine differs by from itself."""
    if noise is None or found.ratio is None or found.label not in noise:
        return None
    return max(found.ratio, 1 / found.ratio) > 1 + noise[found.label]


def _numbers(
    requests: Sequence[Request],
    whole: Collection[int],
    name: str,
    cell: Cell,
    objectives: Objectives,
) -> dict[str, Any]:
    own = [each for each in requests if each.target == name and each.cell == cell.name]
    kept = measured(own)
    states = Counter(request.status for request in kept)
    turns = by_block(kept).get((name, cell.name), {})
    # a turn that still runs, or was cut, has not had its full load yet
    blocks = [system(turn) for number, turn in turns.items() if number in whole or not whole]
    flying = [block.in_flight for block in blocks if block.in_flight is not None]
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
        "metrics": {**metrics, "output_rate": statistics(block.output_rate for block in blocks)},
        "in_flight": fmean(flying) if flying else None,
        "goodput": attained(own, objectives).plain(),
        "steady": all(block.steady for block in blocks) if blocks else None,
        **lag(kept).plain(),
    }


def _load(load: Loaded) -> dict[str, Any]:
    return {
        "target": load.target,
        "label": f"block {load.block + 1}" + (", first" if load.first else ""),
        "first": load.first,
        "seconds": load.seconds,
        "phases": [{"name": name, "seconds": seconds} for name, seconds in load.phases],
    }
