"""Markdown that a model wrote, without the HTML that a notebook would run.

A front end trusts what a cell displays: HTML in the markdown of an answer is part of the page, and
a script in it may run code in the kernel. The answer may repeat what a web page or a file told the
model to say, so none of its HTML but a few bare tags is let through.
"""

import re
from collections.abc import Iterator
from html import unescape

_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_BARE = re.compile(
    r"<(?:br ?/?|/?(?:b|i|u|s|em|strong|sub|sup|kbd|mark|small))>|<https?://[^<>\s]*>"
)
_SPAN = re.compile(r"(?<![\\`])(`+)(?!`)(.{1,999}?)(?<!`)\1(?!`)")
_FENCE = re.compile(r"^([ \t]*)(`{3,}(?=[^`]*$)|~{3,})(.*)$")
_WORD = re.compile(r"\S+")
_LETTER = re.compile(r"[^\W\d_]|\|")
_INDENTS = frozenset(("", " ", "  ", "   "))
_INFO = re.compile(r"[\w+#.\-/: ]*")
_MARKS = re.compile(r"^\s*(?:`{3}|~{3})")
_MATH = re.compile(r"\$|\\\\?[(\[]|\\begin\b")
_ELSEWHERE = re.compile(r"^[\s>*+\-\d.)]*(?:`{3}|~{3}|\[(?:.*\]:|[^\]]*$))")
"""Lines that other readers may go on with over the marks of a block: one that begins behind the
mark of a list or a quotation, the definition of a link."""

_SCRIPT = re.compile(r"(?i)((?:java|vb|live)script)(?=\s*\\?:)")
_UNSEEN = re.compile(r"[\x00-\x20\\]")
"""Characters that readers of markdown and of addresses leave out."""

_BREAK = "\N{ZERO WIDTH SPACE}"


def harmless(text: str) -> str:
    r"""Return markdown that looks the same, in which no HTML of the model's runs.

    What stands in code is shown as it is; a few bare tags, such as `<br>`, keep their meaning.

    >>> print(harmless("Use `<b>` or <img src=x onerror=run()>,<br>not\n```html\n<p>\n```"))
    Use <code>&#60;b&#62;</code> or &lt;img src=x onerror=run()>,<br>not
    ```html
    <p>
    ```
    """
    if not _acts(text):
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(_Reader(text.split("\n")).lines())


class _Reader:
    """Goes through the lines; as soon as readers could disagree about what is code, nothing is."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._sure = True
        self._math = False
        """Whether the paragraph that is read has mathematics, which may hide the marks of code."""

    def lines(self) -> Iterator[str]:
        """Yield the lines to show."""
        place = 0
        while place < len(self._lines):
            line = self._lines[place]
            opened = _FENCE.match(line)
            if opened is None:
                yield self._text(line)
                place += 1
                continue
            depth = len(opened[1])
            end, behind, certain = self._end(place, depth, opened[2])
            block = self._lines[place + 1 : end]
            plain = _INFO.fullmatch(opened[3]) is not None and opened[1] in _INDENTS
            self._sure = self._sure and certain and plain and not self._math
            if self._sure or not any(map(_acts, block)):
                yield line if self._sure else self._text(line)
                yield from self._lines[place + 1 : behind]
            else:
                code = "\n".join(each[min(depth, _depth(each)) :] for each in block)
                yield f"{opened[1]}<pre><code>{_entities(code)}</code></pre>"
                yield ""
            self._math = self._math and not self._sure
            place = behind

    def _end(self, place: int, depth: int, marks: str) -> tuple[int, int, bool]:
        """Return the line that ends a block, the one behind, and whether all readers agree.

        A block also ends with the list that it stands in, where a line is less indented.
        """
        for end in range(place + 1, len(self._lines)):
            line = self._lines[end]
            if _MARKS.match(line):
                bare = line.strip()
                closes = set(bare) == {marks[0]} and len(bare) >= len(marks)
                certain = closes and "\t" not in line and depth <= _depth(line) <= 3
                return end, end + closes, certain
            if line.strip() and _depth(line) < depth:
                return end, end, False
        return len(self._lines), len(self._lines), True

    def _text(self, line: str) -> str:
        """Return a line outside of blocks of code."""
        if not line.strip():
            self._math = False
            return line
        if _ELSEWHERE.match(line):
            self._sure = False
        self._math = self._math or _MATH.search(line) is not None
        parts: list[str] = []
        place = 0
        # At the beginning of a line a tag makes a block of HTML.
        first = _LETTER.search(line)
        within = first.end() if first else len(line)
        for span in _SPAN.finditer(line):
            parts.append(self._words(line[place : span.start()], within - place))
            code = span[2]
            parts.append(f"<code>{_entities(code)}</code>" if _acts(code) else span[0])
            place = span.end()
        parts.append(self._words(line[place:], within - place))
        return "".join(parts)

    def _words(self, text: str, within: int) -> str:
        """Return text without code: the beginning of a tag becomes a sign.

        From the index `within` on, a bare tag may stay.
        """
        # An entity would show in mathematics, a space does not.
        sign = "< " if self._math else "&lt;"

        def put(match: re.Match[str]) -> str:
            stays = match.start() >= within and _BARE.match(text, match.start())
            return "<" if stays else sign

        shown = _SCRIPT.sub(rf"\1{_BREAK}", _TAG.sub(put, text))
        return _WORD.sub(_without_entities, shown) if "&" in shown else shown


def _acts(text: str) -> bool:
    """Tell whether something in a text would act outside of code."""
    if _TAG.search(text) or _SCRIPT.search(text):
        return True
    return "&" in text and any(map(_hides_a_script, text.split()))


def _hides_a_script(word: str) -> bool:
    """Tell whether entities in a word stand for the beginning of a script's address."""
    return "&" in word and _SCRIPT.search(_UNSEEN.sub("", unescape(word))) is not None


def _without_entities(match: re.Match[str]) -> str:
    word = match[0]
    return word.replace("&", f"&{_BREAK}") if _hides_a_script(word) else word


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _entities(code: str) -> str:
    """Return code in which no reader of markdown or mathematics finds anything."""
    return re.sub(r"[^A-Za-z0-9 ]", lambda match: f"&#{ord(match[0])};", code)
