"""Pictures of a summary: ratios with intervals, load times by phase, lines over the load."""

from collections.abc import Mapping, Sequence
from html import escape
from math import exp, log
from typing import Any

from hyperllama_nb.display import charts

WIDTH = 640
"""Pixels; a page scales the picture to its own width."""

_ROW, _LEFT, _RIGHT = 26, 250, 120
_SHADES = (0.85, 0.6, 0.4, 0.25, 0.15)

HATCH = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><path d="M0 0V6" stroke="currentColor" stroke-width="2" '
    'stroke-opacity="0.45"/></pattern></defs>'
)


def forest(rows: Sequence[Mapping[str, Any]], *, hatched: bool) -> str:
    """Return a row per ratio, its interval as a bar around its point, on a logarithmic axis.

    A row has `label`, `ratio`, `low` and `high`; those without numbers are left out. `hatched`
    marks that the two sides are not comparable.
    """
    known = [row for row in rows if row["ratio"] and row["low"] and row["high"]]
    if not known:
        return ""
    reach = max(abs(log(row[end])) for row in known for end in ("low", "high"))
    reach = max(reach, log(1.1)) * 1.1
    height = len(known) * _ROW + 44

    def across(ratio: float) -> float:
        part = max(-1.0, min(1.0, log(ratio) / reach))
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (part + 1) / 2

    one = across(1.0)
    parts = [_head(height, "Ratios with their intervals"), HATCH]
    parts.append(f'<path d="M{one:.1f} 8V{height - 30}" stroke-dasharray="3 3"/>')
    for number, row in enumerate(known):
        y = 20 + number * _ROW
        low, middle, high = (across(row[name]) for name in ("low", "ratio", "high"))
        fill = "url(#hatch)" if hatched else "currentColor"
        parts.append(
            f'<rect x="{low:.1f}" y="{y - 6}" width="{max(1.0, high - low):.1f}" height="12" '
            f'fill="{fill}" fill-opacity="{1 if hatched else 0.3}" stroke-opacity="0.6"/>'
            f'<circle cx="{middle:.1f}" cy="{y}" r="3.5" fill="currentColor"/>'
            + _text(8, y + 4, row["label"])
            + _text(
                WIDTH - _RIGHT + 10,
                y + 4,
                f"{row['ratio']:.2f}x [{row['low']:.2f}, {row['high']:.2f}]",
            )
        )
    parts.append(_text(_LEFT, height - 10, f"{1 / exp(reach):.2f}x"))
    parts.append(_text(one, height - 10, "1x", "middle"))
    parts.append(_text(WIDTH - _RIGHT, height - 10, f"{exp(reach):.2f}x", "end"))
    return "".join([*parts, "</svg>"])


def waterfall(loads: Sequence[Mapping[str, Any]]) -> str:
    """Return a bar per load, split into its phases, on one axis of seconds."""
    known = [load for load in loads if load["seconds"]]
    if not known:
        return ""
    most = max(load["seconds"] for load in known)
    height = len(known) * _ROW + 20
    parts = [_head(height, "Load times by phase")]
    for number, load in enumerate(known):
        y, x = 10 + number * _ROW, float(_LEFT)
        parts.append(_text(8, y + 12, f"{load['target']}, {load['label']}"))
        for index, phase in enumerate(load["phases"]):
            wide = (WIDTH - _LEFT - _RIGHT) * phase["seconds"] / most
            told = f"{phase['name']}: {phase['seconds']:.2f} s"
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{max(0.5, wide):.1f}" height="16" '
                f'fill="currentColor" fill-opacity="{_SHADES[index % len(_SHADES)]}" '
                f'stroke-opacity="0.5"><title>{escape(told)}</title></rect>'
            )
            x += wide
        parts.append(_text(x + 8, y + 12, f"{load['seconds']:.2f} s"))
    return "".join([*parts, "</svg>"])


def over_load(summary: Mapping[str, Any], metric: str, title: str, statistic: str = "p50") -> str:
    """Return a line per target over the cells; nothing for a single cell."""
    cells = summary["cells"]
    if len(cells) < 2:
        return ""
    series = [
        charts.Series(
            target,
            [
                (cell["targets"].get(target, {}).get("metrics", {}).get(metric) or {}).get(
                    statistic
                )
                for cell in cells
            ],
        )
        for target in summary["targets"][: len(charts.LINES)]
    ]
    if not any(value is not None for line in series for value in line.values):
        return ""
    panel = charts.Panel(title, series)
    ends = (cells[0]["label"], cells[-1]["label"])
    return charts.svg([panel], list(range(len(cells))), title, ends=ends)


def _head(height: int, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" fill="none" stroke="currentColor" '
        f'font-family="sans-serif" font-size="12"><title>{escape(title)}</title>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor" '
        f'stroke="none">{escape(text)}</text>'
    )
