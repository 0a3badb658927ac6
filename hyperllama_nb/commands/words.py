"""Small phrases that several commands share."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

T = TypeVar("T")

UNKNOWN = "\N{EN DASH}"


def known(value: T | None, form: Callable[[T], str] = str) -> str:
    """Return a value as text; None is a dash."""
    return UNKNOWN if value is None else form(value)


def moment(text: str | datetime | None) -> datetime | None:
    """Read an RFC 3339 time; None stays None."""
    if text is None or isinstance(text, datetime):
        return text
    return datetime.fromisoformat(text)


def plural(count: int, word: str) -> str:
    """Return a count with its word.

    >>> plural(1, "model"), plural(2, "model")
    ('1 model', '2 models')
    """
    return f"{count} {word}" + ("" if count == 1 else "s")


def listing(words: Sequence[str]) -> str:
    """Join words with commas; nothing is a dash."""
    return ", ".join(words) or UNKNOWN
