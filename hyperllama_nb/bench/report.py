"""The report of a run: one HTML file that needs nothing else, in the reader's light or dark."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from hyperllama_nb.bench import figures
from hyperllama_nb.display.tables import human_bytes

STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#1f2328;--rule:#d0d7de;--soft:#f6f8fa;
--pass:#1a7f37;--warn:#9a6700;--fail:#cf222e}
@media (prefers-color-scheme:dark){:root{--page:#0d1117;--ink:#e6edf3;--rule:#30363d;--soft:#161b22;
--pass:#3fb950;--warn:#d29922;--fail:#f85149}}
body{background:var(--page);color:var(--ink);font:15px/1.5 sans-serif;max-width:60rem;
margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:.8rem 0;display:block;overflow-x:auto}
th,td{border:1px solid var(--rule);padding:.3rem .6rem;text-align:left;vertical-align:top}
th{background:var(--soft)}
svg{max-width:100%;height:auto}
.verdict{border-left:4px solid var(--rule);padding:.2rem .8rem;background:var(--soft)}
.pass{color:var(--pass)}.warn,.unknown{color:var(--warn)}.fail{color:var(--fail)}
.hatched{background-image:repeating-linear-gradient(45deg,transparent 0 6px,var(--rule) 6px 8px)}
.note{color:var(--warn)}
"""

SHOWN = ("mean", "p50", "p90", "p99")
"""Statistics of the tables; the summary has all of them."""


def report(manifest: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """Return the page; every text in it is data and is escaped."""
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(summary['title'])}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(summary['title'])}</h1>",
        *([] if summary["complete"] else [f'<p class="note">{escape(summary["note"])}</p>']),
        *_verdicts(summary),
        *_cells(summary),
        *_fairness(summary["fairness"]),
        *_loads(summary),
        *_resources(summary["resources"]),
        *_definitions(summary["definitions"]),
        *_environment(manifest),
        "</body></html>",
    ]
    return "\n".join(parts)


def shown(value: float | None, unit: str) -> str:
    """Return a number as people read it: seconds below one in milliseconds, a dash if unknown.

    >>> shown(0.01234, "s"), shown(41.26, "tokens/s"), shown(None, "s"), shown(0.5, "share")
    ('12.3 ms', '41.3 tokens/s', '-', '50 %')
    """
    if value is None:
        return "-"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 0.9995 else f"{value:.2f} s"
    if unit == "share":
        return f"{100 * value:.3g} %"
    return f"{value:.3g} {unit}".strip()


def _verdicts(summary: Mapping[str, Any]) -> Iterable[str]:
    found = [each for cell in summary["cells"] for each in cell["comparisons"]]
    if not found:
        return
    yield "<h2>Verdicts</h2>"
    if not summary["comparable"]:
        yield (
            '<p class="note">A fairness rule failed, so these are differences between two set-ups, '
            "not between two engines; they are drawn hatched.</p>"
        )
    hatched = "" if summary["comparable"] else " hatched"
    for each in found:
        yield f'<p class="verdict{hatched}">{escape(each["sentence"])}</p>'
    rows = [
        {"label": f"{each['label']}, {cell['label']}", **_interval(each)}
        for cell in summary["cells"]
        for each in cell["comparisons"]
    ]
    yield figures.forest(rows, hatched=not summary["comparable"])
    yield "<p>A ratio above 1 means that the first target is the better one in that number.</p>"


def _interval(each: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each[name] for name in ("ratio", "low", "high")}


def _cells(summary: Mapping[str, Any]) -> Iterable[str]:
    yield "<h2>Numbers</h2>"
    for cell in summary["cells"]:
        yield f"<h3>{escape(cell['label'])}</h3>"
        yield _table(
            ("target", "succeeded", "failed", "incomplete", "not measured (warm-up)"),
            [
                (
                    target,
                    *(str(found["requests"][name]) for name in _STATES),
                    str(found["requests"]["warm_up"]),
                )
                for target, found in cell["targets"].items()
            ],
        )
        rows = []
        for name, told in summary["definitions"].items():
            for target, found in cell["targets"].items():
                values = found["metrics"].get(name)
                if values:
                    cells = (shown(values.get(each), told["unit"]) for each in SHOWN)
                    rows.append((told["label"], target, *cells))
        yield _table(("number", "target", *SHOWN), rows)
    for name, told in summary["definitions"].items():
        if told.get("plotted"):
            title = f"{told['label']}, median, {told['unit']}"
            yield figures.over_load(summary, name, title)


_STATES = ("succeeded", "failed", "incomplete")


def _fairness(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    if not rows:
        return
    yield "<h2>Is it a fair comparison?</h2><table><thead><tr>"
    yield "".join(f'<th scope="col">{name}</th>' for name in ("rule", "state", "why"))
    yield "</tr></thead><tbody>"
    for row in rows:
        state = escape(row["state"])
        yield (
            f"<tr{' class=hatched' if state == 'fail' else ''}><td>{escape(row['rule'])}</td>"
            f'<td class="{state}">{state}</td><td>{escape(row["reason"])}</td></tr>'
        )
    yield "</tbody></table>"


def _loads(summary: Mapping[str, Any]) -> Iterable[str]:
    if not summary["loads"]:
        return
    yield "<h2>Load times</h2>"
    yield (
        "<p>From the call that loads to the engine's readiness, by the phases that the service "
        "tells. The first load of a run may read the weights from the disk; the later ones find "
        "them in the system's cache. No request of a load counts in the numbers above.</p>"
    )
    yield figures.waterfall(summary["loads"])
    yield _table(
        ("target", "load", "seconds", "phases"),
        [
            (
                load["target"],
                load["label"],
                f"{load['seconds']:.2f}",
                ", ".join(f"{each['name']} {each['seconds']:.2f} s" for each in load["phases"]),
            )
            for load in summary["loads"]
        ],
    )


def _resources(found: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    if not found:
        return
    yield "<h2>Memory and processor</h2>"
    yield _table(
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


def _definitions(found: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    yield "<h2>What the numbers mean</h2><dl>"
    for told in found.values():
        yield f"<dt><b>{escape(told['label'])}</b></dt><dd>{escape(told['definition'])}</dd>"
    yield "</dl>"


def _environment(manifest: Mapping[str, Any]) -> Iterable[str]:
    yield "<h2>Where it ran</h2>"
    rows: list[tuple[str, str]] = []
    for part in ("environment", "versions"):
        rows += [(name, str(value)) for name, value in manifest.get(part, {}).items()]
    for target, facts in manifest.get("targets", {}).items():
        rows += [(f"{target}: {name}", str(value)) for name, value in facts.items()]
    yield _table(("", ""), rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    head = f"<thead><tr>{head}</tr></thead>" if any(columns) else ""
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table>{head}<tbody>{body}</tbody></table>"
