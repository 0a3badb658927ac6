"""Putting the notebook's values into a prompt, and leaving every other brace alone."""

import ast
import re
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from hyperllama_nb.commands.options import UsageError

LONGEST = 100_000
"""Characters that one value may bring into a prompt."""

_PLACE = re.compile(
    r"""\{(?P<path>
        [^\W\d]\w*                                   # a name
        (?: \.[^\W\d]\w*                             # .attribute
          | \[ (?: -?\d+ | '[^'"\\\n]*' | "[^'"\\\n]*" ) \]   # [0], ['key'] or ["key"]
        )*
    )\}""",
    re.VERBOSE,
)
_COMMAND = re.compile(r"\\[A-Za-z]+\*?(?:\[[^\[\]{}\n]*\]|\{[^{}\n]*\})*$")
"""The end of a text that leads into an argument of a command of LaTeX."""

_LINE = 500
"""Characters that are looked at for such a command."""

_NEVER = (ModuleType, FunctionType, BuiltinFunctionType, MethodType, type)
"""What a text never means: `{json}` is a word there, whatever was imported."""


def interpolate(
    text: str, namespace: Mapping[str, Any], used: Callable[[str], object] | None = None
) -> str:
    r"""Replace `{name}` by the value of that name, also with attributes and constant indices.

    The values come in as `str` writes them, and are not looked at again. Each replaced path is
    told to `used`. What does not resolve stays as it is written:

    >>> values = {"x": 3, "who": "{x}", "row": {"a": [7, 8]}, "z": 1 + 2j}
    >>> interpolate("{who} is {x}, {row['a'][-1]}, {z.imag}", values)
    '{x} is 3, 8, 2.0'
    >>> interpolate('{"limit": {x}} costs ${x}, user_{x}', values)
    '{"limit": 3} costs $3, user_3'

    >>> unchanged = [
    ...     'JSON: {"x": 1}, {"a": {"x": [{}]}}',
    ...     "a set {1, 2}, {x, x}, an f-string f'{x!r} {x:>3} {x + 1}'",
    ...     "templates: {{x}} and {{ x }} and {% x %}",
    ...     r"LaTeX: \frac{x}{x} \sqrt[3]{x} \begin{x} e^{x}",
    ...     "spaces { x }, calls {x()} {len(x)}, private {x._y} {x.__class__}",
    ...     "unknown {y} {x.y} {row['b']} {row[0]} {}, slices {who[:2]} {row[x]}",
    ...     "open {x and {x",
    ... ]
    >>> [text for text in unchanged if interpolate(text, values) != text]
    []

    Modules, classes and functions are no values: a text about `{json}` means the word. Raises
    UsageError for a value of more than 100,000 characters.
    """

    def put(match: re.Match[str]) -> str:
        written, path = match.group(), match["path"]
        if _is_elsewhere(text, match.start(), match.end()):
            return written
        found = _resolve(path, namespace)
        if found is None:
            return written
        if len(found) > LONGEST:
            raise UsageError(
                f"{written} has {len(found):,} characters, and a value may bring {LONGEST:,} into "
                "a prompt. Take a part of it, or write --verbatim to send the braces as they are."
            )
        if used is not None:
            used(path)
        return found

    return _PLACE.sub(put, text)


def _is_elsewhere(text: str, start: int, end: int) -> bool:
    r"""Tell whether other languages write these braces: `{{x}}`, `e^{x}`, `\frac{x}{y}`."""
    before, after = text[start - 1 : start], text[end : end + 1]
    if before in {"^", "\\"} or (before, after) == ("{", "}"):
        return True
    lead = text[max(0, start - _LINE) : start].rpartition("\n")[2]
    return "\\" in lead and _COMMAND.search(lead) is not None


def _resolve(path: str, namespace: Mapping[str, Any]) -> str | None:
    """Return the text of the value that a path leads to; None if it leads nowhere."""
    try:
        return _text(_value(ast.parse(path, mode="eval").body, namespace))
    except Exception:  # noqa: BLE001 - the user's own properties and indices raise what they like
        return None


def _value(node: ast.expr, namespace: Mapping[str, Any]) -> Any:
    """Return what a path means; raises LookupError, or whatever the objects on the way raise."""
    match node:
        case ast.Name(id=name) if not name.startswith("__"):
            return namespace[name]
        case ast.Attribute(value=inner, attr=name) if not name.startswith("_"):
            return getattr(_value(inner, namespace), name)
        case ast.Subscript(value=inner, slice=index):
            return _value(inner, namespace)[_constant(index)]
        case _:
            raise LookupError


def _constant(node: ast.expr) -> int | str:
    match node:
        case ast.Constant(value=int() | str() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as value)):
            return -value
        case _:
            raise LookupError


def _text(value: Any) -> str:
    if isinstance(value, _NEVER):
        raise LookupError  # noqa: TRY004 - it is as if there were no such name
    return str(value)


class Values(Mapping[str, Any]):
    """The names that a prompt may use: the user's, and `In`, `Out` and `Err`.

    `hidden` are the names that IPython itself put there, such as `exit`; of these only the history
    counts. `errors` gives the traceback of a cell by its number, or None.
    """

    def __init__(
        self,
        user: Mapping[str, Any],
        hidden: Mapping[str, Any],
        errors: Callable[[int], str | None],
    ) -> None:
        self._user, self._hidden = user, hidden
        self._errors = _Errors(errors)

    def __getitem__(self, name: str) -> Any:
        if name == "Err" and name not in self._user:
            return self._errors
        value = self._user[name]
        own = name in {"In", "Out"} or name.startswith("_")
        if not own and name in self._hidden and self._hidden[name] is value:
            raise KeyError(name)
        return value

    def __iter__(self) -> Any:
        return iter(self._user)

    def __len__(self) -> int:
        return len(self._user)


class _Errors:
    def __init__(self, errors: Callable[[int], str | None]) -> None:
        self._of = errors

    def __getitem__(self, number: int) -> str:
        found = self._of(number)
        if found is None:
            raise KeyError(number)
        return found

    def __str__(self) -> str:
        """Refuse: `{Err}` without a number is no value."""
        raise LookupError
