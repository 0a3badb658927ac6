"""Ending JSON that breaks off, by nothing but a quote and brackets."""

import re

_BLANKS = " \t\n\r"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_LITERALS = ("true", "false", "null")
_ESCAPED = re.compile(r"\\(?:[^u]|u[0-9a-fA-F]{4})")


class Closing:
    """Follow JSON that comes in pieces, so that it can be closed wherever it breaks off.

    `feed` returns what may be shown: up to a place where a quote and brackets make it whole. Keys
    and commas are held back until a value follows. `whole` tells that the outermost value has
    ended, `broken` that the text is no JSON; what comes after either is dropped.

    >>> closing = Closing()
    >>> closing.feed('{"a": [1, "b'), closing.feed('c", tr'), closing.end()
    ('{"a": [1, "b', 'c"', ']}')
    """

    def __init__(self, empty: str = "{}") -> None:
        """Take `empty` for text that breaks off before anything can be shown."""
        self._empty = empty
        self.whole = self.broken = False
        self._open: list[str] = []
        self._held = ""
        self._state = "value"
        """What comes next: a value, the first one or an end, a key (likewise), a colon, or what
        follows a value; or what is inside: a key, a string, or a word (a number, true, …)."""
        self._word = ""
        self._shown = False
        self._ends = ""

    def feed(self, text: str) -> str:
        """Return what may be shown now."""
        shown = ""
        for character in text:
            if self.whole or self.broken:
                break
            self._held += character
            self._take(character)
            if not self.broken and self._clean():
                shown += self._held
                self._held = ""
        self._shown = self._shown or bool(shown.strip())
        return shown

    def end(self) -> str:
        """Return what closes what has been shown, or all of it if that is nothing."""
        if self.whole and not self._held:
            return ""
        if not self._shown:
            return self._empty
        return self._ends

    def _clean(self) -> bool:
        """Tell whether the text may end here, and note with what."""
        state = self._state
        number = state == "word" and _NUMBER.fullmatch(self._word) is not None
        string = state == "string" and not self._escaping()
        if not (number or string or state in ("first value", "first key", "after")):
            return False
        brackets = "".join("}" if one == "{" else "]" for one in reversed(self._open))
        self._ends = ('"' if string else "") + brackets
        return True

    def _escaping(self) -> bool:
        return bool(self._word) and _ESCAPED.fullmatch(self._word) is None

    def _take(self, character: str) -> None:
        state = self._state
        if state in ("string", "key"):
            self._inside(character)
        elif state == "word" and (character.isalnum() or character in "+-."):
            self._word += character
            self._check_word(ended=False)
        elif state == "word":
            self._check_word(ended=True)
            self._after()
            if not self.broken:
                self._take(character)
        elif character in _BLANKS:
            return
        elif character == '"' and state in ("value", "first value"):
            self._state, self._word = "string", ""
        elif character == '"' and state in ("next key", "first key"):
            self._state, self._word = "key", ""
        elif character in "{[" and state in ("value", "first value"):
            self._open.append(character)
            self._state = "first key" if character == "{" else "first value"
        elif character == ":" and state == "colon":
            self._state = "value"
        elif character == "," and state == "after" and self._open:
            self._state = "next key" if self._open[-1] == "{" else "value"
        elif self._ends_here(character):
            self._open.pop()
            self._after()
        elif state in ("value", "first value"):
            self._state, self._word = "word", character
            self._check_word(ended=False)
        else:
            self.broken = True

    def _ends_here(self, character: str) -> bool:
        if not self._open:
            return False
        if self._open[-1] == "{":
            return character == "}" and self._state in ("after", "first key")
        return character == "]" and self._state in ("after", "first value")

    def _inside(self, character: str) -> None:
        """Take a character of a string; `_word` is the escape that it may be part of."""
        if self._escaping():
            self._word += character
            if len(self._word) > 6 or (len(self._word) == 2 and character not in '"\\/bfnrtu'):
                self.broken = True
        elif character == "\\":
            self._word = character
        elif character == '"':
            if self._state == "key":
                self._state = "colon"
            else:
                self._after()
        elif character < " ":
            self.broken = True
        else:
            self._word = ""

    def _check_word(self, *, ended: bool) -> None:
        word = self._word
        if word[0] in "-0123456789":
            if ended:
                self.broken = _NUMBER.fullmatch(word) is None
        elif ended:
            self.broken = word not in _LITERALS
        else:
            self.broken = not any(literal.startswith(word) for literal in _LITERALS)
        if word in _LITERALS:
            self._after()

    def _after(self) -> None:
        self._state, self._word = "after", ""
        self.whole = not self._open
