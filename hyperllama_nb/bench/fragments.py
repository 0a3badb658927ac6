"""Small pieces of HTML that the parts of a report are made of, and how they look."""

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
.hl-scroll{overflow-x:auto}
.hl-table{border-collapse:collapse;margin:.6em 0;font-variant-numeric:tabular-nums}
.hl-table th,.hl-table td{border:1px solid rgba(128,128,128,.35);padding:.25em .6em;
text-align:left;vertical-align:top}
.hl-table th{background:rgba(128,128,128,.12)}
.hl-table th[rowspan]{background:none;font-weight:inherit}
.hl-table .hl-number{text-align:right}
.hl-verdict ul,.hl-note ul{margin:.2em 0;padding-left:1.4em}
.hl-verdict,.hl-note{border-left:4px solid rgba(128,128,128,.6);padding:.3em .8em;margin:.4em 0;
background-color:rgba(128,128,128,.08)}
.hl-note{border-left-color:#d97706}
.hl-hatched{background-image:repeating-linear-gradient(45deg,transparent 0 6px,
rgba(128,128,128,.17) 6px 8px)}
.hl-state{white-space:nowrap}
.hl-state::before{display:inline-block;width:1.3em;font-weight:700}
.hl-pass::before{content:"✓";color:#2f9e6e}.hl-warn::before{content:"!";color:#d97706}
.hl-fail::before{content:"✗";color:#e5534b}.hl-unknown::before{content:"?";color:#7c8797}
"""
"""For the classes of the fragments; the colours read on a light and on a dark page."""


def shown(value: float | None, unit: str) -> str:
    """Return a number as people read it: seconds below one in milliseconds, a dash if unknown.

    >>> shown(0.01234, "s"), shown(1234.5, "tokens/s"), shown(None, "s"), shown(0.5, "share")
    ('12.3 ms', '1234 tokens/s', '-', '50 %')
    """
    if value is None:
        return "-"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 0.9995 else f"{value:.2f} s"
    if unit == "share":
        return f"{100 * value:.3g} %"
    return f"{value:.3g} {unit}".strip() if abs(value) < 999.5 else f"{value:.0f} {unit}".strip()


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of text; without heads if no column has a name, empty without rows."""
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return table_of(columns, body) if body else ""


def table_of(columns: Sequence[str], body: str) -> str:
    """Return a table of rows that are HTML already."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    head = f"<thead><tr>{head}</tr></thead>" if any(columns) else ""
    return (
        f'<div class="hl-scroll"><table class="hl-table">{head}<tbody>{body}</tbody></table></div>'
    )


def note(text: str) -> str:
    """Return a warning in a box."""
    return f'<p class="hl-note">{escape(text)}</p>'
