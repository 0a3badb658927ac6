"""Line charts in small multiples: as plotly's JSON and as a picture, told apart without colour."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

GREY = "#888888"
"""Reads on a light and on a dark page; the kernel does not know which one it is on."""

GRID = "rgba(128,128,128,0.25)"

CLEAR = "rgba(0,0,0,0)"

LINES = (("#3b82c4", "solid", "━"), ("#d97706", "dash", "╍"), ("#9d6bce", "dot", "┅"))
"""Colour, plotly's name of the dashes and their look in a title, of the lines of one panel."""

DASHES = ("", "6 3", "2 2")
"""The same dashes in a picture."""

POINTS = 150
"""Points of a line in a picture, at most: it is some hundred pixels wide."""

_GAP, _TITLE, _AXIS = 0.09, 30, 42

Values = Sequence[float | None]


@dataclass(frozen=True)
class Series:
    """A line; None is a gap in it."""

    name: str
    values: Values


@dataclass(frozen=True)
class Panel:
    """One chart: a title that says the unit, up to three lines, and the axis' end if it is fixed.

    A title is shown with the names of the lines where there are several.
    """

    title: str
    series: Sequence[Series]
    top: float | None = None


def figure(
    panels: Sequence[Panel],
    xs: Sequence[float],
    *,
    below: str,
    columns: int = 1,
    height: int = 170,
    span: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Return the panels as plotly's JSON, row by row; all have the same `xs`.

    `below` names the x axis under the last row, `height` is that of a row in pixels, `span` the
    ends of the x axis if they are fixed.
    """
    rows = -(-len(panels) // columns)
    layout: dict[str, Any] = {
        "height": rows * height + _AXIS,
        "margin": {"l": 50, "r": 20, "t": _TITLE, "b": _AXIS},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "showlegend": False,
        "font": {"color": GREY},
        "annotations": [],
    }
    data: list[dict[str, Any]] = []
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        mark = "" if number == 0 else str(number + 1)
        x0, x1 = _part(column, columns, _GAP)
        # the titles need the same pixels however many rows there are
        y1, y0 = (1 - end for end in _part(row, rows, 46 / height / rows if rows > 1 else 0.0))
        axis = {"color": GREY, "gridcolor": GRID, "zeroline": False}
        last = number + columns >= len(panels)
        layout[f"xaxis{mark}"] = {
            **axis,
            "domain": [x0, x1],
            "anchor": f"y{mark}",
            **({"range": list(span)} if span else {"rangemode": "tozero"}),
            **({"title": {"text": below, "font": {"size": 12}}} if last else {}),
        }
        ends = {"range": [0, panel.top]} if panel.top else {"rangemode": "tozero"}
        layout[f"yaxis{mark}"] = {**axis, "domain": [y0, y1], "anchor": f"x{mark}", **ends}
        layout["annotations"].append(_heading(panel, x0, y1))
        for series, (colour, dash, _) in zip(panel.series, LINES, strict=False):
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": series.name,
                    "x": list(xs),
                    "y": list(series.values),
                    "line": {"color": colour, "dash": dash, "width": 1.5},
                    "xaxis": f"x{mark}",
                    "yaxis": f"y{mark}",
                }
            )
    return {"data": data, "layout": layout}


def svg(
    panels: Sequence[Panel],
    xs: Sequence[float],
    title: str,
    *,
    ends: tuple[str, str],
    columns: int = 1,
    size: tuple[int, int] = (640, 220),
) -> str:
    """Return the panels as a picture in the colour of the text around it.

    `title` is what it shows, in words; `ends` are written under the ends of each x axis; `size` is
    a panel's width and height in pixels.
    """
    rows = -(-len(panels) // columns)
    width, height = columns * size[0], rows * size[1]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" fill="none" stroke="currentColor" '
        f'font-family="sans-serif" font-size="12"><title>{escape(title)}</title>'
    )
    parts = [head]
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        parts.append(f'<g transform="translate({column * size[0]} {row * size[1]})">')
        parts.append(_picture(panel, xs, ends, size))
        parts.append("</g>")
    return "".join([*parts, "</svg>"])


def thin(values: Values, group: int) -> list[float | None]:
    """Return the mean of each group of neighbours; None for a group of nothing but gaps."""
    if group <= 1:
        return list(values)
    groups = (values[start : start + group] for start in range(0, len(values), group))
    return [_mean([value for value in part if value is not None]) for part in groups]


def short(value: float | None) -> float | None:
    """Return a number with the four digits that a chart shows of it."""
    return None if value is None else float(f"{value:.4g}")


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _part(number: int, count: int, gap: float) -> tuple[float, float]:
    """Return the ends of a part of 0…1 that is split into equal parts with gaps between them."""
    size = (1 - gap * (count - 1)) / count
    start = number * (size + gap)
    return round(start, 4), round(min(1.0, start + size), 4)


def _heading(panel: Panel, x: float, y: float) -> dict[str, Any]:
    text = escape(panel.title)
    if len(panel.series) > 1:
        names = (
            f'<span style="color:{colour}">{look} {escape(series.name)}</span>'
            for series, (colour, _, look) in zip(panel.series, LINES, strict=False)
        )
        text = "  ".join([f"{text}:", *names])
    at = {"x": x, "y": y, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
    return {"text": text, "showarrow": False, "font": {"color": GREY, "size": 13}, **at}


def _picture(
    panel: Panel, xs: Sequence[float], ends: tuple[str, str], size: tuple[int, int]
) -> str:
    left, top, right, bottom = 50, 24, size[0] - 20, size[1] - 24
    group = -(-len(xs) // POINTS)
    places = thin(xs, group)
    low, high = (xs[0], xs[-1]) if xs else (0.0, 1.0)
    found = [value for series in panel.series for value in series.values if value is not None]
    most = panel.top or max(found, default=0.0) or 1.0
    parts = [f'<path d="M{left} {top}V{bottom}H{right}" stroke-opacity="0.5"/>']
    for series, dash in zip(panel.series, DASHES, strict=False):
        path, joined = "", False
        for x, value in zip(places, thin(series.values, group), strict=True):
            if value is None or x is None:
                joined = False
                continue
            across = left + (right - left) * (x - low) / ((high - low) or 1.0)
            down = bottom - (bottom - top) * min(1.0, value / most)
            path += f"{'L' if joined else 'M'}{across:.1f} {down:.1f}"
            # a point between two gaps is a dot
            path += "" if joined else "h.1"
            joined = True
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        parts.append(f'<path d="{path}" stroke-width="1.5"{dashes}/>' if path else "")
    heading = panel.title
    if len(panel.series) > 1:
        looks = (f"{look} {s.name}" for s, (_, _, look) in zip(panel.series, LINES, strict=False))
        heading = "  ".join([f"{panel.title}:", *looks])
    parts += [
        '<g fill="currentColor" stroke="none">',
        f'<text x="{left}" y="{top - 8}">{escape(heading)}</text>',
        f'<text x="{left - 6}" y="{top + 10}" text-anchor="end">{most:.3g}</text>',
        f'<text x="{left - 6}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{left}" y="{bottom + 16}">{escape(ends[0])}</text>',
        f'<text x="{right}" y="{bottom + 16}" text-anchor="end">{escape(ends[1])}</text>',
        "</g>",
    ]
    return "".join(parts)
