"""One table with a text and an HTML form, and the numbers in it as people read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any
from unicodedata import combining, east_asian_width

_GAP = "   "
_LEFT = ' style="text-align: left"'


@dataclass(frozen=True)
class Table:
    """A table of strings, shown as aligned text in a terminal and as HTML in a notebook.

    Each row has as many cells as there are columns. Cells are data: markup in them is shown, not
    interpreted. No colours are set, so that the notebook's theme decides.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str | None = None

    def __str__(self) -> str:
        """Return the table as lines of aligned columns without trailing spaces."""
        lines = [[_one_line(cell) for cell in row] for row in (self.columns, *self.rows)]
        if not any(self.columns):
            lines = lines[1:]
        widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
        text = "\n".join(
            _GAP.join(
                cell + " " * (width - _width(cell))
                for cell, width in zip(line, widths, strict=True)
            ).rstrip()
            for line in lines
        )
        return f"{self.title}\n{text}" if self.title else text

    def __repr__(self) -> str:
        """Return what the table holds in one line."""
        name = f" {self.title!r}" if self.title else ""
        return f"<Table{name} {len(self.rows)} rows: {', '.join(self.columns)}>"

    def _repr_html_(self) -> str:
        caption = f"<caption>{escape(self.title)}</caption>" if self.title else ""
        heads = "".join(f'<th scope="col"{_LEFT}>{escape(name)}</th>' for name in self.columns)
        head = f"<thead><tr>{heads}</tr></thead>" if any(self.columns) else ""
        body = "".join(
            "<tr>" + "".join(f"<td{_LEFT}>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        return f"<table>{caption}{head}<tbody>{body}</tbody></table>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        # IPython's own text form would be the repr; a saved notebook should read as a table
        return {"text/plain": str(self), "text/html": self._repr_html_()}


def human_bytes(count: float | None) -> str:
    """Return a number of bytes in decimal units, as disks are sold.

    >>> human_bytes(93_400_000)
    '93.4 MB'
    >>> human_bytes(512), human_bytes(None)
    ('512 B', '-')
    """
    if count is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    return f"{count:.3g} TB"


def human_duration(seconds: float | None) -> str:
    """Return a duration with the precision that its size deserves.

    >>> human_duration(0.0123), human_duration(2.34), human_duration(75), human_duration(7320)
    ('12 ms', '2.3 s', '1 min 15 s', '2 h 2 min')
    """
    if seconds is None:
        return "-"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} days"


def human_ago(when: datetime, now: datetime | None = None) -> str:
    """Return how long ago, or in how long, an aware time is, in one unit."""
    seconds = ((now or datetime.now(UTC)) - when).total_seconds()
    size = abs(seconds)
    if size < 5:
        return "now"
    for length, unit in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if size >= length:
            count = int(size // length)
            phrase = f"{count} {unit}{'s' if count > 1 else ''}"
            break
    return f"{phrase} ago" if seconds > 0 else f"in {phrase}"


def _one_line(cell: str) -> str:
    return " ".join(cell.split("\n"))


def _width(text: str) -> int:
    return sum(
        0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text
    )
