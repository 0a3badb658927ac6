"""A conversation as text and as HTML, for files that no widget runs in."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})\s*([^\s`]*).*$")


@dataclass(frozen=True)
class Note:
    """What is known of a message beside what the model is told.

    `model` wrote it; `figures` is the line under it; `tokens` is what the conversation up to here
    took of a context of `context_length`, in tokens; None where it is not known.
    """

    model: str | None = None
    figures: str = ""
    tokens: int | None = None
    context_length: int | None = None


Entry = tuple[Mapping[str, Any], Note]


def as_text(title: str, system: str, entries: Sequence[Entry]) -> str:
    """Return all that was said, each message under who said it."""
    parts = [title]
    if system:
        parts.append(f"System:\n{system}")
    for message, note in entries:
        under = f"\n({note.figures})" if note.figures else ""
        parts.append(f"{speaker(message, note)}:\n{message.get('content') or ''}{under}")
    if not entries:
        parts.append("Nothing was said yet.")
    return "\n\n".join(parts)


def as_html(title: str, system: str, entries: Sequence[Entry]) -> str:
    """Return all that was said as a figure, without scripts or styles: the page's theme decides.

    Code blocks and paragraphs are kept, other markup is shown as it was written.
    """
    parts = [f"<figcaption>{escape(title)}</figcaption>"]
    if system:
        parts.append(f"<p><strong>System</strong></p>{_body(system)}")
    for message, note in entries:
        parts.append(f"<p><strong>{escape(speaker(message, note))}</strong></p>")
        if message.get("thinking"):
            thought = _body(str(message["thinking"]))
            parts.append(f"<details><summary>Thinking</summary>{thought}</details>")
        parts.append(_body(str(message.get("content") or "")))
        if note.figures:
            parts.append(f"<p><small>{escape(note.figures)}</small></p>")
    if not entries:
        parts.append("<p>Nothing was said yet.</p>")
    return f"<figure>{''.join(parts)}</figure>"


def speaker(message: Mapping[str, Any], note: Note) -> str:
    """Return who said it."""
    role = str(message.get("role"))
    return {"user": "You", "assistant": note.model or "Model"}.get(role, role.capitalize())


def _body(text: str) -> str:
    return "".join(
        f"<pre><code>{escape(part)}</code></pre>"
        if code
        else "".join(
            f"<p>{escape(paragraph).replace(chr(10), '<br>')}</p>"
            for paragraph in re.split(r"\n{2,}", part.strip("\n"))
            if paragraph
        )
        for code, part in _parts(text)
    )


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the text in parts, each with whether it is a block of code."""
    lines: list[str] = []
    opened = ""
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if match and not opened:
            yield False, "\n".join(lines)
            lines, opened = [], match[1]
        elif match and match[1].startswith(opened) and not match[2]:
            yield True, "\n".join(lines)
            lines, opened = [], ""
        else:
            lines.append(line)
    yield bool(opened), "\n".join(lines)
