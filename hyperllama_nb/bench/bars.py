"""Pictures with a bar per row: ratios with their intervals, load times by phase."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import exp, floor, log
from typing import Any

from hyperllama_nb.bench.comparison import MARGIN
from hyperllama_nb.bench.drawing import (
    COLOURS,
    LETTER,
    WIDTH,
    Scale,
    grid,
    head,
    heading,
    hover,
    number,
    shortened,
    text,
)

_ROW, _LEFT, _RIGHT = 24, 236, 150


def forest(rows: Sequence[Mapping[str, Any]], *, hatched: bool) -> str:
    """Return a row per ratio, its interval as a bar around its point, on a logarithmic axis.

    A row has `label`, `group` (what rows that follow each other have in common), `ratio`, `low`
    and `high`; those without numbers are left out. `hatched` marks that the two sides are not
    comparable. The strip around 1 is where a difference matters to nobody.
    """
    known = [row for row in rows if row["ratio"] and row["low"] and row["high"]]
    if not known:
        return ""
    reach = max(abs(log(row[end])) for row in known for end in ("low", "high"))
    reach = exp(max(reach, log(1.1)) * 1.08)
    x = Scale(1 / reach, reach, _LEFT, WIDTH - _RIGHT, log=True)
    groups = [row["group"] for row in known]
    firsts = [k for k, group in enumerate(groups) if k == 0 or group != groups[k - 1]]
    top = 46 if hatched else 28
    bottom = top + _ROW * (len(known) + len(firsts)) + 6
    told = [f"{row['group']}, {row['label']}: {_told(row)}" for row in known]
    parts = [head(bottom + 42, "Ratios with their intervals", told)]
    parts.append(heading("Ratio and its interval"))
    if hatched:
        failed = "Hatched: a rule of fairness failed, so these are two set-ups, not two engines."
        parts.append(text(4, 34, failed))
    parts += [text(x.at(tick), bottom + 18, f"{tick:.3g}x", "middle") for tick in _ratios(x)]
    parts.append(text(x.begin, bottom + 36, "◂ the second is better"))
    parts.append(text(x.end, bottom + 36, "the first is better ▸", "end"))
    y = top
    for first, end in pairwise([*firsts, len(known)]):
        words = text(4, y + 16, shortened(groups[first], 104), told=groups[first])
        parts.append(f'<g font-weight="600">{words}</g>')
        y += _ROW
        parts.append(_strip(x, y, _ROW * (end - first)))
        for row in known[first:end]:
            parts.append(_ratio(row, x, y + _ROW / 2, hatched=hatched))
            y += _ROW
    return "".join([*parts, "</svg>"])


def _strip(x: Scale, y: int, tall: int) -> str:
    """Return the ground of some rows: where differences matter to nobody, and round ratios."""
    low, high = x.at(1 / (1 + MARGIN)), x.at(1 + MARGIN)
    lines = "".join(grid(f"M{x.at(tick):.1f} {y}v{tall}") for tick in _ratios(x))
    return (
        f'<rect x="{low:.1f}" y="{y}" width="{high - low:.1f}" height="{tall}" '
        f'fill="currentColor" fill-opacity="0.08" stroke="none">'
        f"{hover(f'within {MARGIN:.0%}: equivalent')}</rect>{lines}"
        f'<path d="M{x.at(1):.1f} {y}v{tall}" stroke-dasharray="3 3"/>'
    )


def _told(row: Mapping[str, Any]) -> str:
    return f"{row['ratio']:.2f}x [{row['low']:.2f}, {row['high']:.2f}]"


def _ratio(row: Mapping[str, Any], x: Scale, y: float, *, hatched: bool) -> str:
    low, middle, high = (x.at(row[name]) for name in ("low", "ratio", "high"))
    told = _told(row)
    wide = max(2.0, high - low)
    bar = (
        f'<rect x="{low:.1f}" y="{y - 6:.1f}" width="{wide:.1f}" height="12" rx="2" '
        f'fill="currentColor" fill-opacity="{0.04 if hatched else 0.28}" stroke-opacity="0.7">'
        f"{hover(told)}</rect>"
    )
    return (
        text(16, y + 4, shortened(row["label"], 32), told=row["label"])
        + bar
        + (_hatch(low, y - 6, wide, 12) if hatched else "")
        + f'<circle cx="{middle:.1f}" cy="{y:.1f}" r="4" fill="currentColor"/>'
        + text(WIDTH - _RIGHT + 10, y + 4, told)
    )


def _hatch(x: float, y: float, wide: float, tall: float) -> str:
    """Return slanted lines in a box, one by one: a pattern's id must be unique on its page."""
    lines = []
    start = -tall
    while start < wide:
        begin, end = max(0.0, start), min(wide, start + tall)
        lines.append(
            f"M{x + begin:.1f} {y + begin - start:.1f}L{x + end:.1f} {y + end - start:.1f}"
        )
        start += 5
    return f'<path class="hatch" d="{"".join(lines)}" stroke-opacity="0.6"/>'


def _ratios(x: Scale) -> list[float]:
    """Return round ratios on a scale that is symmetric around 1, and 1 itself."""
    if x.high < 2:
        near = [factor for factor in (1.05, 1.1, 1.25, 1.5) if factor <= x.high][-2:]
        return sorted([1.0, *near, *(round(1 / factor, 2) for factor in near)])
    most = floor(log(x.high) / log(2))
    step = -(-most // (3 if most < 4 else 2))  # five long labels find room, or seven short ones
    return [2.0**power for power in range(-(most // step) * step, most + 1, step)]


def waterfall(loads: Sequence[Mapping[str, Any]]) -> str:
    """Return each target's first load and its middle later one, split into phases, in seconds."""
    known = _chosen([load for load in loads if load["seconds"]])
    if not known:
        return ""
    names = list(dict.fromkeys(phase["name"] for _, load in known for phase in load["phases"]))
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}
    x = Scale(0, max(load["seconds"] for _, load in known) * 1.02, _LEFT, WIDTH - 90)
    keys, top = _keys(names, colours)
    bottom = top + _ROW * len(known) + 6
    told = [f"{label}: {load['seconds']:.2f} s" for label, load in known]
    parts = [head(bottom + 40, "Load times by phase", told), heading("Load time by phase"), keys]
    for tick in x.ticks(6):
        parts.append(grid(f"M{x.at(tick):.1f} {top}V{bottom + 4}"))
        parts.append(text(x.at(tick), bottom + 18, number(tick), "middle"))
    parts.append(text((x.begin + x.end) / 2, bottom + 36, "seconds since the call", "middle"))
    for place, (label, load) in enumerate(known):
        y, at = top + 3 + place * _ROW, 0.0
        parts.append(text(4, y + 13, label, told=f"{load['target']}, {load['label']}"))
        for phase in load["phases"]:
            begin, end = x.at(at), x.at(at + phase["seconds"])
            each = f"{phase['name']}: {phase['seconds']:.3g} s"
            colour = colours[phase["name"]]
            parts.append(
                f'<rect x="{begin:.1f}" y="{y}" width="{max(0.5, end - begin):.1f}" height="18" '
                f'fill="{colour}" fill-opacity="0.35" stroke="{colour}">{hover(each)}</rect>'
            )
            if LETTER * len(phase["name"]) + 8 < end - begin:
                parts.append(text((begin + end) / 2, y + 13, phase["name"], "middle"))
            at += phase["seconds"]
        parts.append(text(x.at(at) + 8, y + 13, f"{load['seconds']:.2f} s"))
    return "".join([*parts, "</svg>"])


def _chosen(loads: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the loads to draw with their names: bounded by the number of targets."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    for target in dict.fromkeys(load["target"] for load in loads):
        own = [load for load in loads if load["target"] == target]
        name = shortened(target, 17)
        found += [(f"{name}, first", load) for load in own if load["first"]][:1]
        later = sorted((load for load in own if not load["first"]), key=lambda one: one["seconds"])
        if later:
            found.append((f"{name}, middle of {len(later)} later", later[len(later) // 2]))
    return found


def _keys(names: Sequence[str], colours: Mapping[str, str]) -> tuple[str, int]:
    parts, x, y = [], 8.0, 28
    for name in names:
        wide = 40 + LETTER * len(name)
        if x > 8 and x + wide > WIDTH:
            x, y = 8.0, y + 18
        parts.append(
            f'<rect x="{x:.1f}" y="{y}" width="14" height="12" fill="{colours[name]}" '
            f'fill-opacity="0.35" stroke="{colours[name]}"/>' + text(x + 20, y + 10, name)
        )
        x += wide
    return "".join(parts), y + 20
