"""The part of `bench` that compares targets: its options, its run and its table."""

import argparse
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hyperllama_nb.commands.options import Parser, options_from
from hyperllama_nb.display.tables import Table

if TYPE_CHECKING:
    from hyperllama_nb.bench.experiment import Plan
    from hyperllama_nb.commands.context import Context

T = TypeVar("T", int, float)


def add_arguments(parser: Parser) -> None:
    """Add the options that open the comparison."""
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--targets", metavar="LIST", help="backends, ollama, URLs; compares them, by commas"
    )
    group.add_argument(
        "--concurrency", type=_many(int), default=[], metavar="LIST", help="requests at a time"
    )
    group.add_argument(
        "--rate", type=_many(float), default=[], metavar="LIST", help="requests per second"
    )
    for name, default, text in (
        ("--input-tokens", 128, "length of each prompt"),
        ("--output-tokens", 64, "length of each answer"),
        ("--blocks", 5, "repetitions in mixed order, the unit of comparison"),
    ):
        group.add_argument(
            name, type=_least_one(int), metavar="N", help=f"{text} (default {default})"
        )
    group.add_argument("--quick", action="store_true", help="short prompts and answers, 3 blocks")
    group.add_argument("--output", type=Path, metavar="DIR", help="keep the run in a new directory")


def given(args: Namespace) -> str:
    """Return the first option of a comparison that the line has; empty if it has none."""
    names = ("concurrency", "rate", "input_tokens", "output_tokens", "blocks", "quick", "output")
    found = (name for name in names if getattr(args, name))
    return "".join(f"--{name.replace('_', '-')}" for name in list(found)[:1])


def run(context: "Context", args: Namespace) -> Table:
    """Measure all targets and return the table; keeps the run if that was asked for."""
    from hyperllama_nb.bench import rundir
    from hyperllama_nb.bench.drive import Generator
    from hyperllama_nb.bench.experiment import Experiment
    from hyperllama_nb.bench.facts import facts, load_average
    from hyperllama_nb.bench.fairness import check
    from hyperllama_nb.bench.summarising import summarise

    if args.output:
        rundir.check_free(args.output)
    status = context.client.status()
    plan = _plan(args, status)
    before = load_average()
    with Generator() as drive:
        outcome = Experiment(context.client, plan, drive, context.note).run()
    checks = check(facts(outcome, status, before), outcome.requests).checks
    summary = summarise(outcome, [vars(each) for each in checks])
    for each in checks:
        context.note(f"{each.state:<7} {each.rule}: {each.reason}")
    if args.output:
        told = rundir.write(
            args.output, _manifest(plan, outcome, status), summary, outcome.requests
        )
        context.note(f"The run is in {args.output}. {told or ''}".rstrip())
    return table(summary)


def table(summary: dict[str, Any]) -> Table:
    """Return medians of every target, and of the first two the ratio with its verdict."""
    from hyperllama_nb.bench.sections import shown

    rows = []
    for cell in summary["cells"]:
        for each in cell["comparisons"]:
            unit = summary["definitions"][each["metric"]]["unit"]
            values = (
                shown(cell["targets"][each[side]]["metrics"][each["metric"]]["p50"], unit)
                for side in ("first", "second")
            )
            known = each["ratio"] is not None
            ratio = (
                f"{each['ratio']:.2f}x [{each['low']:.2f}, {each['high']:.2f}]" if known else "-"
            )
            pair = f"{each['first']} / {each['second']}"
            rows.append((cell["label"], each["label"], pair, *values, ratio, each["verdict"]))
    columns = ("LOAD", "NUMBER", "TARGETS", "FIRST", "SECOND", "RATIO", "THE FIRST IS")
    failed = [row["rule"] for row in summary["fairness"] if row["state"] == "fail"]
    told = [f"{summary['title']}, medians.", summary["note"]]
    if failed:
        told.append(f"Two set-ups, not two engines, are compared: {', '.join(failed)} failed.")
    return Table(columns, rows, title=" ".join(filter(None, told)))


def _plan(args: Namespace, status: dict[str, Any]) -> "Plan":
    from hyperllama_nb.bench.choosing import cells, targets
    from hyperllama_nb.bench.experiment import Plan
    from hyperllama_nb.bench.records import Cell, Load
    from hyperllama_nb.bench.schedule import schedule
    from hyperllama_nb.bench.workloads import fixed

    found = targets(
        args.targets.split(","),
        args.model,
        service=f"unix:{status['runtime_dir']}/service.sock",
        backends=status["backends"],
        options={"temperature": 0, "seed": 1, **options_from(args)},
    )
    loads = cells(args.concurrency, args.rate, requests=6 if args.quick else 16, warmup=1)
    reads = args.input_tokens or (64 if args.quick else 128)
    writes = args.output_tokens or (32 if args.quick else 64)
    seed = 0

    def load(cell: Cell, block: int) -> Load:
        count = cell.requests + cell.warmup
        # no prompt may come again: the cache would answer it
        own = 1000 * (1 + block) + [each.name for each in loads].index(cell.name)
        return fixed(count, reads, writes, seed=seed + own)

    names, blocks = [target.name for target in found], args.blocks or (3 if args.quick else 5)
    order = schedule(names, [cell.name for cell in loads], blocks, seed).order
    return Plan(found, loads, order, load, seed)


def _manifest(plan: "Plan", outcome: Any, status: dict[str, Any]) -> dict[str, Any]:
    from hyperllama_nb import hardware

    machine = hardware.detect()
    told = ("backend", "launch", "device", "digest", "context_length", "batch_size")
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
        "targets": {
            target.name: {
                "kind": target.kind,
                "model": target.model,
                "options": target.options,
                **{name: outcome.engines.get(target.name, {}).get(name) for name in told},
            }
            for target in plan.targets
        },
        "schedule": {
            "seed": plan.seed,
            "order": [list(names) for names in plan.order],
            "cells": [cell.plain() for cell in plan.cells],
        },
    }


def _many(kind: Callable[[str], T]) -> Callable[[str], list[T]]:
    each = _least_one(kind)
    return lambda text: [each(part) for part in text.split(",")]


def _least_one(kind: Callable[[str], T]) -> Callable[[str], T]:
    def read(text: str) -> T:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError("must be above 0")
        return value

    return read
