"""What the rules of fairness look at, from a service's status and an experiment's outcome."""

import os
from collections.abc import Mapping
from typing import Any

from hyperllama_nb import hardware
from hyperllama_nb.bench.experiment import Outcome
from hyperllama_nb.bench.fairness import Facts, MachineFacts, ScheduleFacts, TargetFacts
from hyperllama_nb.bench.records import Target


def facts(outcome: Outcome, status: Mapping[str, Any], load_before: float | None) -> Facts:
    """Return the facts; what a target does not say is None. `load_before` is a load average."""
    machine, plan = hardware.detect(), outcome.plan
    return Facts(
        {each.name: _target(each, outcome, status) for each in plan.targets},
        MachineFacts(
            cores=machine.cores,
            memory=machine.memory_total,
            load_before=load_before,
            load_after=load_average(),
        ),
        ScheduleFacts(len(plan.order), plan.order, plan.seed, plan.cells[0].warmup),
    )


def load_average() -> float | None:
    """Return the machine's load average over one minute; None where there is none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _target(target: Target, outcome: Outcome, status: Mapping[str, Any]) -> TargetFacts:
    engine = outcome.engines.get(target.name)
    sent = {"temperature": 0, **target.options}
    if engine is None:
        return TargetFacts(model=target.model, options=sent, fresh_prompts=True)
    backend = engine.get("backend")
    return TargetFacts(
        model=engine.get("model"),
        digest=engine.get("digest"),
        weights=(engine.get("memory_needed") or {}).get("weights"),
        context=engine.get("context_length"),
        engine=engine.get("launch") or backend,
        version=(status["backends"].get(backend) or {}).get("version"),
        device=engine.get("device"),
        slots=engine.get("batch_size"),
        options=sent,
        resident=(),
        fresh_prompts=True,
    )
