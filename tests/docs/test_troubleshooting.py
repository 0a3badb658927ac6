"""The errors that the page on troubleshooting quotes are those that the package says."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"

OWN, OTHERS = PAGE.read_text(encoding="utf-8").split("## What other programs say")

QUOTES = re.findall(r"^\| `([^`]+)`", OWN, re.MULTILINE)
COMMANDS = {"status", "logs", "logs MODEL", "info"}


def text_of(node):
    """Return a literal as its reader sees it, with `…` for each value; None for other nodes."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=values):
            return "".join(text_of(value) or "…" for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return (text_of(left) or "…") + (text_of(right) or "…")
    return None


@pytest.fixture(scope="module")
def literals():
    trees = (
        ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "hyperllama_nb").rglob("*.py"))
    )
    found = {text_of(node) for tree in trees for node in ast.walk(tree)}
    # A value at the end of a literal, or two side by side, are one gap to the reader.
    return "\n".join(re.sub("…+", "…", text) for text in found if text).casefold()


@pytest.mark.parametrize("quote", [quote for quote in QUOTES if quote not in COMMANDS])
def test_a_quoted_error_is_in_the_source(quote, literals):
    # Some begin in the middle of a sentence of the source, and with a capital when they are shown.
    assert quote.strip("… ").casefold() in literals, f"nothing says this: {quote}"


def test_the_page_has_what_is_quoted():
    assert len(QUOTES) > 60
    assert "not ours" in OTHERS
