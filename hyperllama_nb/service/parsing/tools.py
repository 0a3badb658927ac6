"""Tool calls inside generated text, in the forms of the common families of models."""

import json
from collections.abc import Callable
from typing import Protocol

from hyperllama_nb.service.parsing.calls import ToolCall, from_object, from_text

LONGEST = 1 << 18
"""Characters of a call; what is longer is text."""

_decode = json.JSONDecoder().raw_decode

Found = tuple[list[ToolCall], int]
"""Calls, and how many characters of the text they took."""


class NotACallError(ValueError):
    """The text, up to `length` characters behind its marker, is no call."""

    def __init__(self, length: int) -> None:
        super().__init__("no call")
        self.length = length


class ToolParser(Protocol):
    """Tell calls and text apart in a text that comes in pieces.

    `opening` is what the model writes before a call's JSON.
    """

    opening: str

    def feed(self, text: str) -> tuple[str, list[ToolCall]]:
        """Return the text that may be shown now, and the calls that are complete."""
        ...

    def flush(self) -> tuple[str, list[ToolCall]]:
        """Return what was held back, at the end of the output."""
        ...


class Marked:
    """Calls that follow a marker, as Hermes, Qwen and Mistral write them.

    `read` takes the text behind the marker and whether more may come; it returns the calls and
    their length, None to wait for more, or raises NotACallError. Blanks around calls are dropped.
    """

    def __init__(
        self, marker: str, read: Callable[[str, bool], Found | None], opening: str
    ) -> None:
        self.opening = opening
        self._marker, self._read = marker, read
        self._held = ""
        self._inside = False
        self._called = False

    def feed(self, text: str) -> tuple[str, list[ToolCall]]:
        """Return the text that may be shown now, and the calls that are complete."""
        self._held += text
        return self._advance(final=False)

    def flush(self) -> tuple[str, list[ToolCall]]:
        """Return what was held back, at the end of the output."""
        shown, calls = self._advance(final=True)
        rest, self._held = self._held, ""
        return shown + ("" if self._called and not rest.strip() else rest), calls

    def _advance(self, *, final: bool) -> tuple[str, list[ToolCall]]:
        shown: list[str] = []
        calls: list[ToolCall] = []
        while True:
            if not self._inside:
                before, marker, after = self._held.partition(self._marker)
                if not marker:
                    shown.append(self._release())
                    return "".join(shown), calls
                shown.append(before.rstrip())
                self._inside, self._held = True, after
            try:
                found = self._read(self._held, final)
                if found is None and len(self._held) > LONGEST:
                    raise NotACallError(len(self._held))
            except NotACallError as error:
                shown.append(self._marker + self._held[: error.length])
                self._held = self._held[error.length :]
                self._inside = False
                continue
            if found is None:
                return "".join(shown), calls
            calls += found[0]
            self._held = self._held[found[1] :].lstrip()
            self._inside, self._called = False, True

    def _release(self) -> str:
        """Return the text that can no longer become a marker or be blanks before one."""
        text = self._held.lstrip() if self._called else self._held
        keep = 0
        for length in range(min(len(text), len(self._marker) - 1), 0, -1):
            if text.endswith(self._marker[:length]):
                keep = length
                break
        body = text[: len(text) - keep].rstrip()
        self._held = text[len(body) :]
        return body


class Bare:
    """Calls that are the whole output, as Llama 3 writes them: JSON objects, one or several."""

    opening = ""

    def __init__(self, tag: str = "<|python_tag|>") -> None:
        self._tag = tag
        self._held = ""
        self._text = False
        self._called = False

    def feed(self, text: str) -> tuple[str, list[ToolCall]]:
        """Return the text that may be shown now, and the calls that are complete."""
        if self._text:
            return text, []
        self._held += text
        return self._advance()

    def flush(self) -> tuple[str, list[ToolCall]]:
        """Return what was held back, at the end of the output."""
        held, self._held = self._held, ""
        if self._called and not held.strip(" \n\t;"):
            held = ""
        return held, []

    def _advance(self) -> tuple[str, list[ToolCall]]:
        calls: list[ToolCall] = []
        while True:
            start = self._held.lstrip(" \n\t;" if self._called else " \n\t")
            if start.startswith(self._tag):
                start = start[len(self._tag) :].lstrip()
            elif self._tag.startswith(start):
                return "", calls  # nothing yet, or the beginning of the tag
            if not start:
                return "", calls
            if not start.startswith("{") or len(start) > LONGEST:
                return self._give_up(), calls
            try:
                value, end = _decode(start)
            except ValueError:
                return "", calls  # it may become an object
            try:
                calls.append(from_object(value))
            except ValueError:
                return self._give_up(), calls
            self._called = True
            self._held = start[end:]

    def _give_up(self) -> str:
        """Return all that was held: from here on, everything is text."""
        self._text = True
        held, self._held = self._held, ""
        return held


def read_hermes(text: str, final: bool) -> Found | None:
    """Read a call that ends with `</tool_call>`, or with the output."""
    end = text.find("</tool_call>")
    if end < 0 and not final:
        return None
    length = len(text) if end < 0 else end + len("</tool_call>")
    try:
        return [from_text(text if end < 0 else text[:end])], length
    except ValueError:
        raise NotACallError(length) from None


def read_mistral(text: str, final: bool) -> Found | None:
    """Read an array of calls, or a name, `[ARGS]` and the arguments."""
    body = text.lstrip()
    offset = len(text) - len(body)
    if not body and not final:
        return None
    try:
        if body.startswith("["):
            values, end = _decode(body)
            return [from_object(value) for value in values], offset + end
        name, brace, rest = body.partition("{")
        if not brace:
            raise ValueError("no arguments")
        arguments, end = _decode(brace + rest)
        call = from_object({"name": name.partition("[")[0].strip(), "arguments": arguments})
        return [call], offset + len(name) + end
    except (ValueError, TypeError):
        if final:
            raise NotACallError(len(text)) from None
        return None


def parser_for(template: str) -> ToolParser:
    """Return a parser for the form of call that a chat template teaches its model."""
    if "<tool_call>" in template:
        return Marked("<tool_call>", read_hermes, "<tool_call>\n")
    if "[TOOL_CALLS]" in template:
        return Marked("[TOOL_CALLS]", read_mistral, "[TOOL_CALLS][")
    return Bare()
