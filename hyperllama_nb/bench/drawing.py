"""What all pictures of a benchmark share: scales with round ticks, a frame, a legend, line styles.

A picture is SVG in the colour of the text around it, so that it reads on a light and a dark page.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 720
"""Pixels; a page scales the picture to its own width."""

LETTER = 6.6
"""Pixels that a letter takes on average, a little generously: no text may run into another."""

COLOURS = ("#3b82c4", "#d97706", "#2f9e6e", "#a855c7", "#d6568c", "#7c8797")
"""At least 3:1 against white and against near-black."""

_DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "12 4")
_MARKS = ("circle", "square", "triangle", "diamond", "cross", "wedge")
_SHAPES = {
    "square": "M-3.6-3.6h7.2v7.2h-7.2z",
    "triangle": "M0-4.6L4.4 3.4H-4.4z",
    "diamond": "M0-5L4.4 0 0 5-4.4 0z",
    "cross": "M-4-1.4h2.6V-4h2.8v2.6H4v2.8H1.4V4h-2.8V1.4H-4z",
    "wedge": "M0 4.6L4.4-3.4H-4.4z",
}


@dataclass(frozen=True)
class Style:
    """How a target is drawn in every picture; colour is never what tells it apart alone.

    `hollow` is for what was not measured here: a mark without a line.
    """

    colour: str
    dash: str
    mark: str
    hollow: bool = False

    def line(self, path: str, told: str = "") -> str:
        """Return a line along a path, with what it says when the pointer is on it."""
        dash = f' stroke-dasharray="{self.dash}"' if self.dash else ""
        return (
            f'<path d="{path}" stroke="{self.colour}" stroke-width="2"{dash}>{hover(told)}</path>'
        )

    def point(self, x: float, y: float, told: str = "") -> str:
        """Return a mark with what it says when the pointer is on it."""
        # an invisible filling, so that the pointer finds the middle of a hollow mark
        look = (
            f'fill="{self.colour}" fill-opacity="{0 if self.hollow else 1}" '
            f'stroke="{self.colour}" stroke-width="{1.6 if self.hollow else 0.5}"'
        )
        if self.mark == "circle":
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {look}>{hover(told)}</circle>'
        return (
            f'<path d="{_SHAPES[self.mark]}" transform="translate({x:.1f} {y:.1f})" {look}>'
            f"{hover(told)}</path>"
        )


def style(number: int, *, hollow: bool = False) -> Style:
    """Return the style of the target at a place in the run's order."""
    turn, place = divmod(number, len(COLOURS))
    mark = _MARKS[(place + turn) % len(_MARKS)]
    return Style(COLOURS[place], _DASHES[(place + turn) % len(_DASHES)], mark, hollow)


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, drawn from pixel `begin` to `end`, straight or logarithmic."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return the pixel of a value; what is off the axis is at its end."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.begin + (self.end - self.begin) * (value - low) / ((high - low) or 1.0)

    def ticks(self, most: int) -> list[float]:
        """Return round values on the axis, at least two and about as many as `most`."""
        if self.log:
            found = round_logs(self.low, self.high, most)
            if len(found) > 1:
                return found
        step = _step((self.high - self.low) / max(1, most - 1))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [float(f"{number * step:.10g}") for number in range(first, last + 1)]


def round_logs(low: float, high: float, most: int) -> list[float]:
    """Return the powers of ten and, if there is room for them, their 2 and 5 fold or their halves.

    >>> round_logs(0.5, 150, 6), round_logs(0.5, 150, 9)
    ([1.0, 10.0, 100.0], [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0])
    """
    begin, end = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = -(-(end - begin + 1) // most)
    for folds in ((1, 2, 5), (1,)):
        places = range(begin, end + 1, 1 if len(folds) > 1 else every)
        found = [float(f"{fold}e{power}") for power in places for fold in folds]
        found = [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(found) <= most:
            break
    return found


def _step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least or 1.0))
    return next(fold * power for fold in (1, 2, 5, 10) if fold * power >= least * (1 - 1e-9))


class Frame:
    """A picture with a title, a legend, two axes with a grid, and what is drawn on them."""

    def __init__(
        self,
        title: str,
        legend: Sequence[tuple[str, Style]],
        *,
        x: tuple[float, float],
        y: tuple[float, float],
        below: str,
        beside: str,
        log_x: bool = False,
        height: int = 260,
    ) -> None:
        """Lay it out; `x` and `y` are the ends of the axes, `below` and `beside` name them."""
        self._title, self._below, self._beside = title, below, beside
        self._legend, rows = _legend(legend)
        top = 30 + 18 * rows + 22
        self.top, self.bottom = float(top), float(top + height)
        self.y = Scale(*y, self.bottom, self.top)
        labels = [number(value) for value in self.y.ticks(6)]
        left = 14 + LETTER * max(map(len, labels))
        self.x = Scale(*x, left, WIDTH - 24, log=log_x)
        self._parts: list[str] = []
        self._told: list[str] = []

    def add(self, *parts: str, told: str = "") -> None:
        """Draw something on the axes; `told` says it to those who cannot see it."""
        self._parts += parts
        self._told += [told] if told else []

    def picture(self) -> str:
        """Return the whole picture."""
        x, y = self.x, self.y
        told = head(round(self.bottom) + 44, self._title, self._told)
        parts = [told, heading(self._title), self._legend]
        for value in y.ticks(6):
            parts.append(grid(f"M{x.begin:.1f} {y.at(value):.1f}H{x.end}"))
            parts.append(text(x.begin - 7, y.at(value) + 4, number(value), "end"))
        wide = LETTER * len(number(x.high)) + 26
        for value in x.ticks(max(2, min(9, int((x.end - x.begin) / wide)))):
            parts.append(grid(f"M{x.at(value):.1f} {y.end}V{y.begin + 4}"))
            parts.append(text(x.at(value), y.begin + 18, number(value), "middle"))
        parts.append(f'<path d="M{x.begin:.1f} {y.end}V{y.begin}H{x.end}" stroke-opacity="0.6"/>')
        parts.append(text(4, y.end - 10, self._beside))
        parts.append(text((x.begin + x.end) / 2, y.begin + 37, self._below, "middle"))
        return "".join([*parts, *self._parts, "</svg>"])


def _legend(entries: Sequence[tuple[str, Style]]) -> tuple[str, int]:
    """Return the legend under the title, and how many rows it takes."""
    parts, x, row = [], 8.0, 0
    for name, look in entries:
        told = shortened(name, 46)
        wide = 40 + LETTER * len(told) + 16
        if x > 8 and x + wide > WIDTH:
            x, row = 8.0, row + 1
        y = 38 + 18 * row
        line = "" if look.hollow else look.line(f"M{x:.1f} {y}h30")
        parts.append(line + look.point(x + 15, y) + text(x + 37, y + 4, told, told=name))
        x += wide
    return "".join(parts), row + bool(entries)


def head(height: float, title: str, told: Sequence[str] = ()) -> str:
    """Return the beginning of a picture of the usual width, and what it shows in words."""
    words = f"<desc>{escape('; '.join(told))}</desc>" if told else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" style="max-width:100%;height:auto" role="img" '
        'fill="none" stroke="currentColor" font-family="sans-serif" font-size="12">'
        f"<title>{escape(title)}</title>{words}"
    )


def heading(title: str) -> str:
    """Return the title as it is written over a picture."""
    return (
        f'<text x="4" y="16" fill="currentColor" stroke="none" font-size="13" font-weight="600">'
        f"{escape(shortened(title, 84))}</text>"
    )


def grid(path: str) -> str:
    """Return a thin line that data stands out from."""
    return f'<path d="{path}" stroke-opacity="0.15"/>'


def text(x: float, y: float, words: str, anchor: str = "start", told: str = "") -> str:
    """Return words at a place; `told` is what the pointer shows if it is more than they say."""
    more = hover(told) if told != words else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor" '
        f'stroke="none">{escape(words)}{more}</text>'
    )


def hover(told: str) -> str:
    """Return what the pointer shows of the element around it."""
    return f"<title>{escape(told)}</title>" if told else ""


def path(points: Iterable[tuple[float, float]]) -> str:
    """Return a line through points; a single one is drawn as a dot."""
    found = [f"{x:.1f} {y:.1f}" for x, y in points]
    return f"M{'L'.join(found)}" + ("h.1" if len(found) == 1 else "")


def shortened(words: str, most: int) -> str:
    """Return words of bounded length; the middle gives way, since ends tell names apart."""
    if len(words) <= most:
        return words
    return f"{words[: most // 2]}…{words[len(words) - (most - 1) // 2 :]}"


def number(value: float) -> str:
    """Return a tick's number without superfluous digits."""
    return f"{value:,.6g}".replace(",", " ") if abs(value) >= 1 else f"{value:.4g}"
