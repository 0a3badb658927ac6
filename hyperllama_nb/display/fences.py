"""Fenced blocks of code in the markdown of an answer."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_STRICT = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$")
_LENIENT = re.compile(r"^[ \t]*(`{3,}|~{3,})(.*)$")


@dataclass(frozen=True)
class Block:
    """A fenced block: `language` is the first word behind the opening fence, in lower case."""

    language: str
    code: str


def blocks(text: str) -> list[Block]:
    r"""Return the fenced blocks, also the last one if an answer that was cut leaves it open.

    A fence may stand at any depth of a list; its indentation is taken off the code.

    >>> blocks("So:\n```python\nx = 1\n```\nDone.")
    [Block(language='python', code='x = 1')]
    >>> blocks("1. Run\n\n   ~~~sh\n   ls\n     -l\n   ~~~")
    [Block(language='sh', code='ls\n  -l')]
    >>> blocks("no code")
    []
    """
    found: list[Block] = []
    lines: list[str] | None = None
    language, depth = "", 0
    for line, fence in _scan(text, _LENIENT):
        if fence is None:
            if lines is not None:
                lead = len(line) - len(line.lstrip(" \t"))
                lines.append(line[min(lead, depth) :])
        elif lines is None:
            words = fence.split()
            language, lines = words[0].lower() if words else "", []
            depth = len(line) - len(line.lstrip(" \t"))
        else:
            found.append(Block(language, "\n".join(lines)))
            lines = None
    if lines:
        found.append(Block(language, "\n".join(lines).rstrip("\n")))
    return found


def close_fence(text: str) -> str:
    r"""Return the text with a code fence that it leaves open closed.

    >>> close_fence("```python\nx = 1")
    '```python\nx = 1\n```'
    >>> close_fence("```\nx\n```")
    '```\nx\n```'
    """
    opened = ""
    for line, fence in _scan(text, _STRICT):
        if fence is not None:
            opened = "" if opened else line.strip()[: _width(line)]
    return f"{text.removesuffix(chr(10))}\n{opened}" if opened else text


def fenced(code: str, language: str = "") -> str:
    r"""Return code as a block of markdown, whatever fences are in the code.

    >>> fenced("x", "python")
    '```python\nx\n```'
    """
    marks = "`" * max(3, 1 + max(map(len, re.findall(r"`+", code)), default=0))
    return f"{marks}{language}\n{code}\n{marks}"


def _scan(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[str, str | None]]:
    """Yield each line; with it what stands behind its marks if it opens or closes a block."""
    opened = ""
    for line in text.split("\n"):
        match = pattern.match(line)
        if match is None:
            yield line, None
            continue
        marks, rest = match.groups()
        if not opened:
            if marks[0] == "`" and "`" in rest:
                yield line, None
                continue
            opened = marks
            yield line, rest
        elif marks[0] == opened[0] and len(marks) >= len(opened) and not rest.strip():
            opened = ""
            yield line, ""
        else:
            yield line, None


def _width(line: str) -> int:
    bare = line.strip()
    return len(bare) - len(bare.lstrip(bare[0]))
