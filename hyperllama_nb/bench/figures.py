"""Pictures of a run: running medians, distributions, numbers over the load, and those in bars."""

from collections.abc import Mapping, Sequence
from typing import Any

from hyperllama_nb.bench.bars import forest, waterfall
from hyperllama_nb.bench.drawing import Frame, Style, hover, path, style, text
from hyperllama_nb.bench.live import Curve

__all__ = ["against_load", "curves", "ecdfs", "forest", "waterfall"]


def curves(curves: Sequence[Curve], title: str, unit: str) -> str:
    """Return a line per target with its interval as a band; empty without a point.

    `unit` is that of the values ("s", "tokens/s"); the order of the curves gives their styles.
    """
    drawn = [(style(place), curve) for place, curve in enumerate(curves) if curve.xs]
    ys = [
        value
        for _, curve in drawn
        for value in (*curve.middle, *curve.low, *curve.high)
        if value is not None
    ]
    if not ys:
        return ""
    factor, unit = _unit(unit, max(ys))
    frame = Frame(
        title,
        [(curve.target, look) for look, curve in drawn],
        x=(0, max(curve.xs[-1] for _, curve in drawn)),
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
        frame.add(look.line(path(points), told), look.point(*points[-1], told))
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
        beside="% of the answers",
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
        )
    if limit is not None:
        x = frame.x.at(factor * limit)
        told = f"objective {factor * limit:.3g} {unit}"
        right = x < (frame.x.begin + frame.x.end) / 2
        frame.add(
            f'<path d="M{x:.1f} {frame.top}V{frame.bottom}" stroke-dasharray="5 4" '
            f'stroke-width="1.5">{hover(told)}</path>',
            text(x + (6 if right else -6), frame.bottom - 8, told, "start" if right else "end"),
        )
    return frame.picture()


def against_load(summary: Mapping[str, Any], metric: str, title: str) -> str:
    """Return the median over the load that was measured, a line per target; a bar reaches to p90.

    The load is the mean number of requests in flight, so that loads at a fixed number and at a
    fixed rate lie on one axis. Results of other tools are hollow marks without a line. Empty where
    there is but one point in all.
    """
    targets: list[str] = summary["targets"]
    lines = {name: _points(summary, name, metric) for name in targets}
    overlays = [
        (each, (each["in_flight"], (each["metrics"].get(metric) or {}).get("p50")))
        for each in summary["overlays"]
    ]
    others = [(each, at) for each, at in overlays if None not in at]
    if max(map(len, lines.values()), default=0) < 2 and not others:
        return ""
    found = [point for line in lines.values() for point in line]
    xs = [point["x"] for point in found] + [at[0] for _, at in others]
    ys = [value for point in found for value in (point["p50"], point["p90"]) if value is not None]
    ys += [at[1] for _, at in others]
    if not ys:
        return ""
    factor, unit = _unit(summary["definitions"][metric]["unit"], max(ys))
    log_x = min(xs) > 0 and max(xs) > 6 * min(xs)
    styles = {name: style(place) for place, name in enumerate(targets)}
    hollow = [style(len(targets) + place) for place in range(len(others))]
    frame = Frame(
        title,
        [(name, styles[name]) for name in targets if lines[name]]
        + [(each["label"], look) for (each, _), look in zip(others, hollow, strict=True)],
        x=(min(xs) / 1.15, max(xs) * 1.15) if log_x else (0, max(xs) * 1.06),
        y=(0, factor * max(ys) * 1.05),
        below="requests in flight, on average" + (", logarithmic" if log_x else ""),
        beside=unit,
        log_x=log_x,
    )
    for name, line in lines.items():
        _line(frame, styles[name], name, line, factor, unit)
    for (each, at), look in zip(others, hollow, strict=True):
        told = f"{each['tool']}: {each['label']}: {factor * at[1]:.3g} {unit}"
        frame.add(look.point(frame.x.at(at[0]), frame.y.at(factor * at[1]), told, filled=False))
    return frame.picture()


def _points(summary: Mapping[str, Any], name: str, metric: str) -> list[dict[str, Any]]:
    points = []
    for cell in summary["cells"]:
        numbers = cell["targets"][name]
        values = numbers["metrics"].get(metric) or {}
        if numbers["in_flight"] is not None and values.get("p50") is not None:
            points.append({"x": numbers["in_flight"], "cell": cell["label"], **values})
    return sorted(points, key=lambda point: point["x"])


def _line(
    frame: Frame, look: Style, name: str, line: list[dict[str, Any]], factor: float, unit: str
) -> None:
    places = [(frame.x.at(each["x"]), frame.y.at(factor * each["p50"])) for each in line]
    frame.add(look.line(path(places)) if places else "")
    for (x, y), each in zip(places, line, strict=True):
        told = f"{name}, {each['cell']}: median {factor * each['p50']:.3g} {unit}"
        if each["p90"] is not None:
            told += f", p90 {factor * each['p90']:.3g} {unit}"
            end = frame.y.at(factor * each["p90"])
            bar = f"M{x:.1f} {y:.1f}V{end:.1f}M{x - 4:.1f} {end:.1f}h8"
            frame.add(f'<path d="{bar}" stroke="{look.colour}" stroke-width="1.2"/>')
        frame.add(look.point(x, y, f"{told}; {each['x']:.3g} in flight"))


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
