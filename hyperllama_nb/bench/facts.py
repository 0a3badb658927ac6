"""What the rules of fairness look at, from a service's status and an experiment's outcome."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hyperllama_nb import hardware
from hyperllama_nb.bench.experiment import Outcome
from hyperllama_nb.bench.known import Facts, MachineFacts, ScheduleFacts, TargetFacts
from hyperllama_nb.bench.records import Target
from hyperllama_nb.errors import HyperLlamaError

if TYPE_CHECKING:
    from hyperllama_nb.client import Client

PATIENCE = 5.0
"""Seconds in which another server must tell what its model is."""


def described(client: "Client", target: Target) -> dict[str, Any]:
    """Return what a server says of a target's model before it is measured.

    Raises ModelNotFoundError if the service does not have the model; another server, which may not
    speak of such things, is described by what it says.
    """
    if target.kind == "service":
        client.show(target.model)  # what the engine makes of it is told when it is loaded
    return _elsewhere(target) if target.kind == "ollama" else {}


def facts(
    outcome: Outcome,
    status: Mapping[str, Any],
    load_before: float | None,
    *,
    fresh_prompts: bool = True,
) -> Facts:
    """Return the facts; what a target does not say is None.

    `load_before` is a load average; `fresh_prompts` says that no prompt begins as another one does.
    """
    machine, plan = hardware.detect(), outcome.plan
    order = tuple(plan.order[block] for block in outcome.blocks)
    return Facts(
        {each.name: _target(each, outcome, status, fresh_prompts) for each in plan.targets},
        MachineFacts(
            cores=machine.cores,
            memory=machine.memory_total,
            load_before=load_before,
            load_after=load_average(),
        ),
        ScheduleFacts(len(order), order, plan.seed, plan.cells[0].warmup),
    )


def load_average() -> float | None:
    """Return the machine's load average over one minute; None where there is none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _target(
    target: Target, outcome: Outcome, status: Mapping[str, Any], fresh_prompts: bool
) -> TargetFacts:
    engine = outcome.engines.get(target.name, {})
    backend = engine.get("backend")
    resident = outcome.resident.get(target.name)
    return TargetFacts(
        model=engine.get("model") or target.model,
        digest=engine.get("digest"),
        quantisation=(engine.get("encoding") or "").lower() or None,
        weights=(engine.get("memory_needed") or {}).get("weights"),
        context=engine.get("context_length"),
        cache_type=engine.get("cache_type"),
        engine=engine.get("launch") or backend,
        version=engine.get("version") or (status["backends"].get(backend) or {}).get("version"),
        device=engine.get("device"),
        threads=engine.get("threads"),
        slots=engine.get("batch_size"),
        options={"temperature": 0, **target.options},
        resident=None if resident is None else tuple(sorted(resident)),
        fresh_prompts=fresh_prompts,
    )


def _elsewhere(target: Target) -> dict[str, Any]:
    """Return what a server with Ollama's API says of a model; empty if it does not."""
    from hyperllama_nb.client import Client

    try:
        with Client(target.url, timeout=PATIENCE) as other:
            details = other.show(target.model)["details"]
            names = {name: each for each in other.list()["models"] for name in _names(each)}
    except (HyperLlamaError, KeyError, TypeError):
        return {}
    found = names.get(target.model) or names.get(f"{target.model}:latest") or {}
    return {
        "backend": target.kind,
        "encoding": details.get("quantization_level") or None,
        "digest": found.get("digest"),
    }


def _names(model: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(model[name]) for name in ("model", "name") if name in model)
