"""What `manifest.json` of a run says: what was chosen, on which machine, and in which order."""

from collections.abc import Mapping
from typing import Any

from hyperllama_nb import hardware
from hyperllama_nb.bench.choice import Choice
from hyperllama_nb.bench.experiment import Outcome
from hyperllama_nb.bench.known import Facts

ENGINE = ("backend", "launch", "device", "digest", "context_length", "batch_size", "ignore_eos")
"""What is kept of a service's line on an engine, besides the facts of fairness."""


def manifest(
    choice: Choice, outcome: Outcome, status: Mapping[str, Any], facts: Facts
) -> dict[str, Any]:
    """Return the manifest as plain JSON; `status` is the service's, of which versions are kept."""
    machine, plan = hardware.detect(), outcome.plan
    return {
        "environment": {
            "processor": machine.cpu_name,
            "cores": machine.cores,
            "memory": machine.memory_total,
            "accelerators": [device.name for device in machine.devices],
        },
        "versions": {
            "hyperllama_nb": status["version"],
            **{name: each.get("version") for name, each in status["backends"].items()},
        },
        "choice": choice.plain(),
        "targets": {
            target.name: {
                "kind": target.kind,
                "model": target.model,
                "options": target.options,
                **{name: outcome.engines.get(target.name, {}).get(name) for name in ENGINE},
            }
            for target in plan.targets
        },
        "facts": facts.plain(),
        "schedule": {
            "seed": plan.seed,
            "order": [list(names) for names in plan.order],
            "cells": [cell.plain() for cell in plan.cells],
        },
    }
