"""How a benchmark stands, in words: for the status line, a screen reader and a text reader."""

from collections.abc import Mapping
from typing import Any

from hyperllama_nb.bench.choice import Choice
from hyperllama_nb.bench.goodput import Attainment
from hyperllama_nb.bench.session import Session
from hyperllama_nb.bench.throughput import Objectives

_ACTIONS: dict[str, tuple[str, ...]] = {
    "ready": ("start",),
    "starting": ("stop",),
    "running": ("pause", "stop", "extend"),
    "pausing": ("resume", "stop", "extend"),
    "paused": ("resume", "stop", "extend"),
    "stopping": (),
    "stopped": ("start", "extend"),
    "done": ("start", "extend"),
    "failed": ("start", "extend"),
}
"""What can be done in each state."""


def status(state: str, session: Session | None, told: str) -> dict[str, Any]:
    """Return the state, a sentence on it, the requests done and planned, and what can be done.

    `told` is what went wrong; without it, it is what the session says of its end.
    """
    done, planned = progress(session)
    return {
        "state": state,
        "text": _sentence(state, session),
        "notice": told or (session.error if session is not None else ""),
        "done": done,
        "planned": planned,
        "actions": [*_ACTIONS[state]],
    }


def progress(session: Session | None) -> tuple[int, int]:
    """Return how many requests were made and how many are planned, warm-ups included.

    Those of blocks that an end cut off do not count: others are measured in their place.
    """
    if session is None:
        return 0, 0
    each = sum(cell.requests + cell.warmup for cell in session.plan.cells)
    cut = set(session.outcome.partial)
    if session.where:
        cut -= {max(cut, default=0)}  # the block that is being measured
    done = sum(request.block not in cut for request in session.requests())
    return done, session.blocks * len(session.plan.targets) * each


def within(found: Mapping[str, Attainment], cell: str, objectives: Objectives) -> str:
    """Return how many requests of each target were within the objectives, in a sentence."""
    if not any(vars(objectives).values()):
        return "Set a limit to see how many of the requests were within it."
    parts = []
    for name, each in found.items():
        if each.share is None or each.low is None or each.high is None:
            continue
        rate = "" if each.goodput is None else f", {each.goodput:.3g} good requests/s"
        span = f"{100 * each.low:.0f} to {100 * each.high:.0f} %"
        parts.append(f"{name}: {each.good} of {each.of} ({span}){rate}")
    return f"Within the objectives, {cell}: {'; '.join(parts)}." if parts else ""


def caption(choice: Choice, session: Session | None) -> str:
    """Return what is compared and how it stands, in one line."""
    shown = choice if session is None else session.choice
    state = "not started" if session is None else session.state
    return f"{shown.model}: {', '.join(shown.targets)}; {state}"


def text(choice: Choice, summary: Mapping[str, Any] | None) -> str:
    """Return the table of the command `bench`, or what would be measured."""
    if not summary or not summary["blocks"]:
        loads = [f"{count} at a time" for count in choice.concurrency]
        loads += [f"{rate:g}/s" for rate in choice.rates]
        return (
            f"Benchmark of {choice.model}: {', '.join(choice.targets)}; {', '.join(loads)}; "
            f"{choice.blocks} blocks. Nothing was measured yet."
        )
    from hyperllama_nb.commands.comparing import table

    states = [row["state"] for row in summary["fairness"]]
    told = ", ".join(
        f"{states.count(state)} {state}"
        for state in ("pass", "warn", "fail", "unknown")
        if state in states
    )
    rules = "; ".join(
        f"{row['rule']} ({row['state']}): {row['reason']}"
        for row in summary["fairness"]
        if row["state"] in ("warn", "fail")
    )
    return "\n".join(filter(None, [str(table(dict(summary))), f"Fairness: {told}.", rules]))


def _sentence(state: str, session: Session | None) -> str:
    if session is None or state == "starting":
        return "Not started." if state == "ready" else "Asking the service …"
    where, whole = session.where, len(session.outcome.blocks)
    measured = f"{whole} of {session.blocks} blocks were measured whole."
    match state:
        case "ready" | "running":
            return where
        case "pausing":
            return f"Pauses after this turn: {where}"
        case "paused":
            return f"Paused. {measured} The engine stays loaded."
        case "stopping":
            return "Stopping …"
        case "stopped":
            return f"Stopped. {measured}"
        case "done":
            return f"Done. {measured}"
    return f"Ended early. {measured}"
