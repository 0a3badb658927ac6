"""What a model writes inside a string, and as a number, turned into JSON whatever it is."""

import json
import math
import re
from typing import Final

from hyperllama_nb.service.structure.nodes import Number, dumps

_ESCAPES: Final = '"\\/bfnrt'
_HEX = re.compile(r"[0-9a-fA-F]{0,4}")
_UNKNOWN = "\ufffd"

MOST_DIGITS = 18
"""Digits of a whole number, and of the parts of another one."""

_WRITTEN = re.compile(
    rf"\s*\"?\s*\+?(-?)0*([0-9]{{1,{MOST_DIGITS}}})"
    rf"(?:(\.[0-9]{{1,{MOST_DIGITS}}})?([eE][+-]?[0-9]{{1,3}})?)"
)
_ANYWHERE = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


class StringReader:
    r"""Turn what a model writes behind a quote into the inside of a JSON string.

    Quotes end it, escapes are completed, control characters escaped. `done` tells that the string
    has ended, and `rest` is what came behind it.

    >>> reader = StringReader()
    >>> reader.feed('a\\"b'), reader.feed('c",'), reader.rest
    ('a\\"b', 'c', ',')
    """

    def __init__(self, longest: int | None = None) -> None:
        """Read at most `longest` characters; None is no limit."""
        self.longest = longest
        self.length = 0
        self.done = longest == 0
        self.rest = ""
        self._held = ""
        self._quoted = False

    @property
    def open(self) -> bool:
        """Tell whether a quote that ended the text belongs to the string, as after a backslash."""
        return self._quoted or self._held == "\\"

    def feed(self, text: str) -> str:
        """Return the JSON that the text completes, without the quotes around it."""
        text = self._held + text
        made: list[str] = []
        self._held, at = "", 0
        while at < len(text) and not self.done:
            if text[at] == '"':
                self.done = True
                at += 1
                break
            found = self._escape(text, at) if text[at] == "\\" else (_plain(text[at]), at + 1)
            if found is None:
                self._held = text[at:]
                return "".join(made)
            self._quoted = found[0] == '\\"'
            made.append(found[0])
            at = found[1]
            self.length += 1
            self.done = self.length == self.longest
        if self.done:
            self.rest = text[at:]
        return "".join(made)

    def quote(self) -> str:
        """Return the JSON of the quote that an engine took for its stop string."""
        return self.feed('"') if self._held else ""

    def end(self) -> str:
        """Return the JSON of what was held back, when the model has stopped writing."""
        held, self._held = self._held, ""
        self.done = True
        return _UNKNOWN if held else ""

    def _escape(self, text: str, at: int) -> tuple[str, int] | None:
        """Return the JSON of the escape at a place, and where it ends; None if more must come."""
        kind = text[at + 1 : at + 2]
        if not kind:
            return None
        if kind in _ESCAPES:
            return text[at : at + 2], at + 2
        if kind == "'":
            return kind, at + 2
        if kind != "u":
            # A backslash that is meant as one, as in a regular expression or a path.
            return "\\\\", at + 1
        code = _hex(text, at + 2)
        end = at + 2 + len(code)
        if len(code) < 4:
            return None if end == len(text) else ("\\\\", at + 1)
        number = int(code, 16)
        if not 0xD800 <= number < 0xE000:
            return text[at:end], end
        # Half a character: JSON spells those beyond the first 65,536 as two.
        low = text[end : end + 2]
        if number < 0xDC00 and (low == "\\u" or not low or (low == "\\" and end + 1 == len(text))):
            second = _hex(text, end + 2)
            if len(second) < 4 and end + 2 + len(second) >= len(text):
                return None
            if len(second) == 4 and 0xDC00 <= int(second, 16) < 0xE000:
                return text[at : end + 6], end + 6
        return _UNKNOWN, end


def _hex(text: str, at: int) -> str:
    found = _HEX.match(text, at)
    return found[0] if found else ""


def _plain(character: str) -> str:
    """Return a character as it stands in a JSON string."""
    if character < " ":
        return json.dumps(character)[1:-1]
    return _UNKNOWN if "\ud800" <= character < "\ue000" else character


def read_number(text: str, node: Number, *, anywhere: bool = False) -> tuple[str, str] | None:
    """Return the number at the beginning of a text as JSON, and what follows it.

    One out of range becomes the nearest in it; a whole one is cut at its point. `anywhere` looks
    for a number inside the text. None if there is none.

    >>> read_number(" 007, ", Number(step=1)), read_number("12.5e1}", Number(high=100))
    (('7', ', '), ('100', '}'))
    """
    if anywhere:
        found = _ANYWHERE.search(text)
        return read_number(found[0], node) if found else None
    written = _WRITTEN.match(text)
    if written is None:
        return None
    sign, digits, fraction, exponent = written.groups("")
    rest = text[written.end() :]
    value: int | float = int(sign + digits)
    shown = f"{value}"
    if node.step:
        value = node.fit(value)
        return str(value), rest
    if fraction or exponent:
        shown = f"{sign}{int(digits)}{fraction}{exponent}"
        value = float(shown)
        if not math.isfinite(value):
            shown, value = f"{sign}{int(digits)}{fraction or '.0'}", float(sign + digits)
    fitted = node.fit(value)
    return (shown if fitted == value else dumps(fitted)), rest


def whole_number(text: str) -> bool:
    """Tell whether a text holds a number that has ended, since something else follows it."""
    written = _WRITTEN.match(text)
    if written is None or written.end() == len(text):
        return False
    follows = text[written.end()]
    return not (follows.isalnum() or follows in ".+-")
