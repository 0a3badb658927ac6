"""Pictures of a run: running medians, distributions, numbers over the load, and those in bars."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hyperllama_nb.bench.bars import forest, waterfall
from hyperllama_nb.bench.drawing import LETTER, WIDTH, Frame, Style, hover, path, style, text
from hyperllama_nb.bench.live import Curve

__all__ = ["against_load", "attainment", "curves", "ecdfs", "forest", "waterfall"]

_SHARE = "% of the answers"


def curves(curves: Sequence[Curve], title: str, unit: str) -> str:
    """Return a line per target with its interval as a band; empty without a point.

    `unit` is that of the values ("s", "tokens/s"); the order of the curves gives their styles.
    """
    drawn = [(style(place), curve) for place, curve in enumerate(curves) if curve.xs]
    # the first bands are as wide as the few answers differ, and would press all others together
    ys = [
        value
        for _, curve in drawn
        for ends in (curve.low, curve.high)
        for value in (*curve.middle, *ends[len(ends) // 4 :])
        if value is not None
    ]
    if not ys:
        return ""
    factor, unit = _unit(unit, max(ys))
    frame = Frame(
        title,
        [(curve.target, look) for look, curve in drawn],
        x=(0, max(10.0, *(curve.xs[-1] for _, curve in drawn))),
        y=_span([factor * value for value in ys]),
        below="answers",
        beside=unit,
    )
    for look, curve in drawn:
        frame.add(_band(frame, look, curve, factor))
    for look, curve in drawn:
        points = [
            (frame.x.at(x), frame.y.at(factor * y))
            for x, y in zip(curve.xs, curve.middle, strict=True)
        ]
        ends = [
            "?" if end is None else f"{factor * end:.3g}" for end in (curve.low[-1], curve.high[-1])
        ]
        told = (
            f"{curve.target}: {factor * curve.middle[-1]:.3g} {unit} [{ends[0]}, {ends[1]}] "
            f"after {curve.xs[-1]:.0f} answers"
        )
        frame.add(look.line(path(points), told), look.point(*points[-1], told), told=told)
    return frame.picture()


def _band(frame: Frame, look: Style, curve: Curve, factor: float) -> str:
    edge = [
        (frame.x.at(x), frame.y.at(factor * low), frame.y.at(factor * high))
        for x, low, high in zip(curve.xs, curve.low, curve.high, strict=True)
        if low is not None and high is not None
    ]
    if len(edge) < 2:
        return ""
    there = [(x, high) for x, _, high in edge]
    back = [(x, low) for x, low, _ in reversed(edge)]
    return (
        f'<path d="{path(there + back)}z" fill="{look.colour}" fill-opacity="0.18" stroke="none"/>'
    )


def ecdfs(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    unit: str,
    limit: float | None = None,
) -> str:
    """Return the share of values up to each value, in steps, a line per target.

    `series` has what `live.ecdf` returns by target, in the run's order; `limit` is an objective
    in the unit of the values, drawn as a dashed vertical.
    """
    drawn = [(style(k), *entry) for k, entry in enumerate(series.items()) if entry[1][0]]
    values = [value for _, _, (xs, _) in drawn for value in (xs[0], xs[-1])]
    if not values:
        return ""
    values += [] if limit is None else [limit]
    factor, unit = _unit(unit, max(values))
    low, high = factor * min(values), factor * max(values)
    log_x = low > 0 and high > 20 * low
    ends = (low / 1.1, high * 1.1) if log_x else _span([low, high])
    frame = Frame(
        title,
        [(name, look) for look, name, _ in drawn],
        x=ends,
        y=(0, 100),
        below=unit + (", logarithmic" if log_x else ""),
        beside=_SHARE,
        log_x=log_x,
    )
    for look, name, (xs, shares) in drawn:
        steps = [f"M{frame.x.at(factor * xs[0]):.1f} {frame.y.at(0):.1f}"]
        for x, share in zip(xs, shares, strict=True):
            steps.append(f"H{frame.x.at(factor * x):.1f}V{frame.y.at(100 * share):.1f}")
        middle = next(x for x, share in zip(xs, shares, strict=True) if share >= 0.5)
        told = f"{name}: half within {factor * middle:.3g} {unit}"
        frame.add(
            look.line("".join([*steps, f"H{frame.x.end}"]), told),
            look.point(frame.x.at(factor * middle), frame.y.at(50), told),
            told=told,
        )
    if limit is not None:
        x = frame.x.at(factor * limit)
        told = f"objective {factor * limit:.3g} {unit}"
        # above the axes, where no line can cross it, and clear of the name of the vertical one
        half = LETTER * len(told) / 2
        middle = min(max(x, 8 + LETTER * len(_SHARE) + 12 + half), WIDTH - 4 - half)
        frame.add(
            f'<path d="M{x:.1f} {frame.top - 5}V{frame.bottom}" stroke-dasharray="5 4" '
            f'stroke-width="1.5">{hover(told)}</path>',
            text(middle, frame.top - 10, told, "middle"),
        )
    return frame.picture()


@dataclass(frozen=True)
class _Point:
    """A number of one target under one load, the ends of the bar through it, and what it says.

    `paced` tells that the load was at a rate.
    """

    x: float
    y: float
    low: float
    high: float
    told: str
    paced: bool = False


def against_load(summary: Mapping[str, Any], metric: str, title: str) -> str:
    """Return the median over the load that was measured, a line per target; a bar reaches to p90.

    The load is the mean number of requests in flight, so that loads at a fixed number and at a
    fixed rate lie on one axis; no line joins the two kinds. Results of other tools are hollow marks
    without a line. Empty where no target has two points.
    """
    factor, unit = _unit(summary["definitions"][metric]["unit"], _most(summary, metric))

    def point(name: str, each: Mapping[str, Any]) -> _Point | None:
        values = each["metrics"].get(metric) or {}
        middle, high = values.get("p50"), values.get("p90")
        if each["in_flight"] is None or middle is None:
            return None
        told = f"{name}: median {middle * factor:.3g} {unit}"
        told += "" if high is None else f", p90 {high * factor:.3g} {unit}"
        told += f", {each['in_flight']:.3g} in flight"
        end = middle if high is None else high
        return _Point(each["in_flight"], factor * middle, factor * middle, factor * end, told)

    others = {f"{each['tool']}: {each['label']}": each for each in summary["overlays"]}
    marks = {name: found for name, each in others.items() if (found := point(name, each))}
    return _over_load(title, _lines(summary, point), marks, unit)


def attainment(summary: Mapping[str, Any], title: str) -> str:
    """Return the share of good requests over the load, with Wilson's interval as a bar."""

    def point(name: str, each: Mapping[str, Any]) -> _Point | None:
        good = each["goodput"]
        if each["in_flight"] is None or good["share"] is None:
            return None
        share, low, high = (100 * good[end] for end in ("share", "low", "high"))
        told = f"{name}: {share:.3g} % good [{low:.3g}, {high:.3g}]"
        told += f", {each['in_flight']:.3g} in flight"
        return _Point(each["in_flight"], share, low, high, told)

    return _over_load(title, _lines(summary, point), {}, "% of the requests", 100.0)


def _most(summary: Mapping[str, Any], metric: str) -> float:
    """Return the greatest median or p90 that is shown of a number, to choose its unit by."""
    shown = [each for cell in summary["cells"] for each in cell["targets"].values()]
    values = [each["metrics"].get(metric) or {} for each in (*shown, *summary["overlays"])]
    return max((each.get(end) or 0.0 for each in values for end in ("p50", "p90")), default=0.0)


def _lines(
    summary: Mapping[str, Any], point: Callable[[str, Mapping[str, Any]], _Point | None]
) -> dict[str, list[_Point]]:
    """Return the points of each target, in the order of the load that was measured."""
    lines = {}
    for name in summary["targets"]:
        cells = summary["cells"]
        found = [
            replace(each, paced=cell["rate"] is not None)
            for cell in cells
            if (each := point(f"{name}, {cell['label']}", cell["targets"][name]))
        ]
        lines[name] = sorted(found, key=lambda each: each.x)
    return lines


def _over_load(
    title: str,
    lines: Mapping[str, Sequence[_Point]],
    marks: Mapping[str, _Point],
    unit: str,
    top: float | None = None,
) -> str:
    if max(map(len, lines.values()), default=0) < 2:
        return ""
    points = [*(point for line in lines.values() for point in line), *marks.values()]
    low, high = min(point.x for point in points), max(point.x for point in points)
    log_x = low > 0 and high > 6 * low
    drawn = [(name, style(place), line) for place, (name, line) in enumerate(lines.items()) if line]
    hollow = [
        (name, style(len(lines) + place, hollow=True), point)
        for place, (name, point) in enumerate(marks.items())
    ]
    frame = Frame(
        title,
        [(name, look) for name, look, _ in (*drawn, *hollow)],
        x=(low / 1.15, high * 1.15) if log_x else (0, high * 1.06),
        y=(0, top or 1.05 * max(point.high for point in points) or 1.0),
        below="requests in flight, on average" + (", logarithmic" if log_x else ""),
        beside=unit,
        log_x=log_x,
    )
    for _, look, line in drawn:
        for paced in (False, True):
            ends = [
                (frame.x.at(each.x), frame.y.at(each.y)) for each in line if each.paced is paced
            ]
            frame.add(look.line(path(ends)) if ends else "")
        for point in line:
            x, y = frame.x.at(point.x), frame.y.at(point.y)
            if point.low < point.high:
                low_y, high_y = frame.y.at(point.low), frame.y.at(point.high)
                caps = "".join(f"M{x - 4:.1f} {end:.1f}h8" for end in (low_y, high_y))
                bar = f"M{x:.1f} {low_y:.1f}V{high_y:.1f}{caps}"
                frame.add(f'<path d="{bar}" stroke="{look.colour}" stroke-width="1.2"/>')
            frame.add(look.point(x, y, point.told), told=point.told)
    for _, look, point in hollow:
        x, y = frame.x.at(point.x), frame.y.at(point.y)
        frame.add(look.point(x, y, point.told), told=point.told)
    return frame.picture()


def _unit(unit: str, most: float) -> tuple[float, str]:
    """Return what values are multiplied by to be read well, and the unit they then have."""
    if unit == "s" and most < 1:
        return 1e3, "ms"
    return (100.0, "%") if unit == "share" else (1.0, unit)


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis: from 0, unless that would press the values together."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return (0.0 if 0 <= low < 0.35 * high else low - room), high + room
