"""A small run of two targets under two loads, as an outcome and as its summary."""

from hyperllama_nb.bench.experiment import Loaded, Outcome, Plan
from hyperllama_nb.bench.records import Cell, Target
from hyperllama_nb.bench.summarising import summarise
from hyperllama_nb.bench.usage import Usage
from tests.bench.making import request

OVERLAY = {
    "label": "m on modular, 2 at a time",
    "tool": "max benchmark",
    "requests": {"succeeded": 9, "failed": 1, "incomplete": 0, "warm_up": 0},
    "metrics": {"ttft": {"mean": 0.5, "p50": 0.45, "p90": None, "p95": None, "p99": None}},
    "in_flight": 1.7,
}

CELLS = (Cell("1 at a time", concurrency=1), Cell("2/s", rate=2.0, arrival="poisson"))


def records(targets=("a", "b"), blocks=3, count=2, late=0.0):
    """Return the requests of both loads; the second target is a tenth slower."""
    return [
        one(name, cell, block, index, 1 + 0.1 * place, late)
        for block in range(blocks)
        for place, name in enumerate(targets)
        for cell in CELLS
        for index in range(count)
    ]


def one(target, cell, block, index, slow, late):
    due = 10.0 * block + index
    sent = due + (late if cell.rate else 0.0)
    texts = tuple(sent + slow * (0.2 + 0.05 * k) for k in range(4))
    times = {"scheduled": due, "sent": sent, "texts": texts, "finished": texts[-1]}
    load = {"cell": cell.name, "concurrency": cell.concurrency, "rate": cell.rate}
    return request(target, block, index, **times, **load)


def outcome(requests, targets=("a", "b"), model="m"):
    found = dict.fromkeys(each.block for each in requests)
    plan = Plan(
        tuple(Target(name, "service", "unix:/s", model) for name in targets),
        CELLS,
        tuple(tuple(targets) for _ in found),
        load=lambda cell, block: None,
    )
    phases = (("start", 0.5), ("build", 1.5))
    return Outcome(
        plan,
        list(requests),
        [Loaded(name, block, block == 0, 2.0, phases) for block in found for name in targets],
        usage={name: Usage(10**9, 3.0, 2.0) for name in targets},
        complete=True,
    )


def summary(targets=("a", "b"), **options):
    return summarise(outcome(records(targets), targets), **options)
