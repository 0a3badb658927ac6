"""Parts of a report as HTML without scripts; everything in them is data and is escaped."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from hyperllama_nb.bench import figures
from hyperllama_nb.bench.fragments import STYLE, note, shown, table, table_of
from hyperllama_nb.bench.live import ecdf
from hyperllama_nb.bench.records import Request
from hyperllama_nb.display.tables import human_bytes

__all__ = [
    "STYLE",
    "attainment",
    "distributions",
    "drift",
    "fairness",
    "goodput",
    "loads",
    "numbers",
    "over_load",
    "resources",
    "set_ups",
    "shown",
    "table",
    "verdicts",
]

SHOWN = ("mean", "p50", "p90", "p99")
"""Statistics of the tables; the summary has all of them."""

DISTRIBUTIONS = ("ttft", "tpot", "e2e")
LOADS_DRAWN = 4
"""Loads with pictures of their distributions, at most: it bounds the size of a page."""

_STATES = ("succeeded", "failed", "incomplete")


def verdicts(summary: Mapping[str, Any]) -> str:
    """Return the noise, a sentence per pair and load, and the forest; empty without any of them."""
    found = [(cell, each) for cell in summary["cells"] for each in cell["comparisons"]]
    parts = [_noise(summary)]
    if not found:
        return parts[0]
    hatched = "" if summary["comparable"] else " hl-hatched"
    if hatched:
        parts.append(note(f"{set_ups(summary)} The differences are drawn hatched."))
    rows, sentences = [], []
    pairs: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    place = summary["targets"].index
    found.sort(key=lambda pair: (place(pair[1]["first"]), place(pair[1]["second"])))
    for cell, each in found:
        pair, load = f"{each['first']} against {each['second']}", cell["label"]
        pairs.setdefault(pair, {}).setdefault(load, []).append(each)
        rows.append({"group": f"{pair}, {load}", **each})
        sentences.append(f"<li>{escape(each['sentence'])}</li>")
    for pair, cells in pairs.items():
        told = "".join(
            f"<li>{escape(load)}: {escape(_in_short(several))}</li>"
            for load, several in cells.items()
        )
        parts.append(f'<div class="hl-verdict{hatched}"><b>{escape(pair)}</b><ul>{told}</ul></div>')
    parts.append(figures.forest(rows, hatched=bool(hatched)))
    parts.append(f"<details><summary>In words</summary><ul>{''.join(sentences)}</ul></details>")
    return "".join(parts)


def set_ups(summary: Mapping[str, Any]) -> str:
    """Return the sentence that names the rules of fairness which failed; empty if none did."""
    failed = [row["rule"] for row in summary["fairness"] if row["state"] == "fail"]
    rules = ", ".join(failed)
    return f"Two set-ups, not two engines, are compared: {rules} failed." if failed else ""


def _noise(summary: Mapping[str, Any]) -> str:
    if not summary["noise_floor"]:
        return ""
    floors = ", ".join(f"{name} {share:.1%}" for name, share in summary["noise_floor"].items())
    return (
        f"<p>The same engine, measured twice, differs by up to: {escape(floors)}. Smaller "
        "differences are not visible here.</p>"
    )


def _in_short(found: Sequence[Mapping[str, Any]]) -> str:
    """Return what the comparisons of two targets under one load say, the first one's words."""
    words: dict[str, list[str]] = {}
    for each in found:
        known = each["ratio"] is not None
        word = each["verdict"] if known else "too few blocks to compare"
        told = f"{each['label']} ({each['ratio']:.2f}x)" if known else each["label"]
        below = each["above_noise"] is False and word in {"faster", "slower"}
        words.setdefault(word, []).append(told + (", below the noise" if below else ""))
    return "; ".join(f"{word} in {', '.join(told)}" for word, told in words.items()) + "."


def numbers(summary: Mapping[str, Any]) -> str:
    """Return a table of requests and one of statistics for each load, and those of other tools."""
    parts = []
    for cell in summary["cells"]:
        rows = [(name, _counts(found), found["metrics"]) for name, found in cell["targets"].items()]
        parts.append(f"<h3>{escape(cell['label'])}</h3>" + _numbers(summary, rows))
    overlays = summary["overlays"]
    if overlays:
        rows = [(_overlaid(each), _counts(each), each["metrics"]) for each in overlays]
        parts.append("<h3>Results of other tools</h3>")
        parts.append("<p>They were measured elsewhere and are in no comparison.</p>")
        parts.append(_numbers(summary, rows))
    return "".join(parts)


def _overlaid(each: Mapping[str, Any]) -> str:
    return f"{each['tool']}: {each['label']}"


def _counts(found: Mapping[str, Any]) -> tuple[str, ...]:
    doubts = []
    if found.get("steady") is False:
        doubts.append("not steady")
    if found.get("lag_degraded"):
        doubts.append("sent late")
    counts = found["requests"]
    return (*(str(counts[name]) for name in (*_STATES, "warm_up")), ", ".join(doubts))


def _numbers(
    summary: Mapping[str, Any], found: Sequence[tuple[str, tuple[str, ...], Mapping[str, Any]]]
) -> str:
    columns = ["target", *_STATES, "not measured (warm-up)", "doubts"]
    states = [(name, *counts) for name, counts, _ in found]
    if not any(row[-1] for row in states):
        columns, states = columns[:-1], [row[:-1] for row in states]
    body = ""
    for metric, told in summary["definitions"].items():
        rows = [(name, metrics[metric]) for name, _, metrics in found if metrics.get(metric)]
        if all(value is None for _, values in rows for value in values.values()):
            continue  # a number that no target tells would be nothing but dashes
        # the label of a rate has its unit
        unit = "s" if told["unit"] == "s" else ""
        head = f'<th scope="rowgroup" rowspan="{len(rows)}">{escape(told["label"])}</th>'
        for name, values in rows:
            cells = (shown(values.get(each), unit) for each in SHOWN)
            row = "".join(f'<td class="hl-number">{cell}</td>' for cell in cells)
            body += f"<tr>{head}<td>{escape(name)}</td>{row}</tr>"
            head = ""
    return table(columns, states) + (table_of(("number", "target", *SHOWN), body) if body else "")


def over_load(summary: Mapping[str, Any]) -> str:
    """Return the plotted numbers over the measured load; empty for a single load."""
    return "".join(
        figures.against_load(summary, name, f"{told['label']}, median over the load")
        for name, told in summary["definitions"].items()
        if told["plotted"]
    )


def distributions(summary: Mapping[str, Any], requests: Sequence[Request]) -> str:
    """Return the distributions of latencies, of up to four loads; empty without requests."""
    cells = [cell["label"] for cell in summary["cells"]]
    if len(cells) > LOADS_DRAWN:
        last = len(cells) - 1
        cells = [cells[round(k * last / (LOADS_DRAWN - 1))] for k in range(LOADS_DRAWN)]
    return "".join(
        figures.ecdfs(
            {name: ecdf(requests, name, cell, metric) for name in summary["targets"]},
            f"{summary['definitions'][metric]['label']}, {cell}",
            summary["definitions"][metric]["unit"],
            summary["objectives"].get(metric),
        )
        for cell in cells
        for metric in DISTRIBUTIONS
    )


def goodput(summary: Mapping[str, Any]) -> str:
    """Return how many requests met the objectives, with Wilson's interval; empty without any."""
    limits = {name: limit for name, limit in summary["objectives"].items() if limit is not None}
    if not limits:
        return ""
    told = ", ".join(
        f"{summary['definitions'][name]['label']} ≤ {shown(limit, 's')}"
        for name, limit in limits.items()
    )
    rows = []
    for cell in summary["cells"]:
        for name, found in cell["targets"].items():
            each = found["goodput"]
            share = shown(each["share"], "share")
            if each["low"] is not None:
                share += f" [{100 * each['low']:.3g}, {100 * each['high']:.3g}]"
            good = f"{each['good']} of {each['of']}"
            rows.append((cell["label"], name, good, share, shown(each["goodput"], "requests/s")))
    columns = ("load", "target", "good", "share, 95 % interval", "goodput")
    return f"<p>A request is good if it succeeded with {escape(told)}.</p>{table(columns, rows)}"


def attainment(summary: Mapping[str, Any]) -> str:
    """Return the share of good requests over the load; empty without objectives or loads."""
    if set(summary["objectives"].values()) == {None}:
        return ""
    return figures.attainment(summary, "requests within the objectives, over the load")


def drift(summary: Mapping[str, Any]) -> str:
    """Return a warning for each number that drifted and each load that was sent late."""
    parts = []
    if found := [each["sentence"] for each in summary["drift"]]:
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in found)
        parts.append(
            f'<details class="hl-note"><summary>The speed changed while it was measured, in '
            f"{len(found)} of the numbers. Ratios are taken block by block and suffer less; "
            f"measure again on an idle machine.</summary><ul>{items}</ul></details>"
        )
    for cell in summary["cells"]:
        for name, numbers in cell["targets"].items():
            if numbers["lag_degraded"]:
                told = (
                    f"The load generator sent requests to {name} at {cell['label']} up to "
                    f"{shown(numbers['lag_max'], 's')} late, which is more than a tenth of its "
                    "time to first token: the latencies hold the generator's own delay."
                )
                parts.append(note(told))
    return "".join(parts)


def fairness(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rules with their states; the mark and the word say the state, not the colour."""
    failed = ' class="hl-hatched"'
    body = "".join(
        f"<tr{failed if row['state'] == 'fail' else ''}><td>{escape(row['rule'])}</td>"
        f'<td class="hl-state hl-{escape(row["state"])}">{escape(row["state"])}</td>'
        f"<td>{escape(row['reason'])}</td></tr>"
        for row in rows
    )
    return table_of(("rule", "state", "why"), body) if rows else ""


def loads(summary: Mapping[str, Any]) -> str:
    """Return the load times, drawn and in a table; empty without a load."""
    if not summary["loads"]:
        return ""
    rows = [
        (
            load["target"],
            load["label"],
            f"{load['seconds']:.2f}",
            ", ".join(f"{each['name']} {each['seconds']:.2f} s" for each in load["phases"]),
        )
        for load in summary["loads"]
    ]
    return figures.waterfall(summary["loads"]) + table(
        ("target", "load", "seconds", "phases"), rows
    )


def resources(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what each target used; empty if nothing was watched."""
    return table(
        ("target", "memory at most", "cores busy on average", "GPU busy on average"),
        [
            (
                target,
                human_bytes(used["memory_peak"]),
                shown(used["cpu_cores"], ""),
                shown(used["gpu_share"], "share"),
            )
            for target, used in found.items()
        ],
    )
