"""The forms in which a whole answer stays: in a cell, in a terminal, in a new cell."""

import ast
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hyperllama_nb.display.fences import blocks, fenced
from hyperllama_nb.display.harmless import harmless

_PYTHON = frozenset({"", "python", "python3", "py", "py3", "ipython", "ipython3"})

_CELL_MAGICS = {
    "bash": "%%bash",
    "sh": "%%sh",
    "shell": "%%sh",
    "html": "%%html",
    "javascript": "%%javascript",
    "js": "%%javascript",
    "latex": "%%latex",
    "markdown": "%%markdown",
    "perl": "%%perl",
    "ruby": "%%ruby",
    "svg": "%%svg",
}

_MATH = re.compile(r"\$|\\\(|\\\[|\\begin\{")


@dataclass(frozen=True)
class Form:
    """One form: the bundle that a cell shows and the text that a terminal prints of an answer.

    None is the answer as it came, which can then be written while it grows. `note` says what the
    reader may miss; it stands in the line under the answer.
    """

    cell: Callable[[str], dict[str, Any]] | None = None
    plain: Callable[[str], str] | None = None
    note: Callable[[str], str] = lambda _: ""


def form_of(format: str, *, extract: bool) -> Form:  # noqa: A002 - the option's name
    """Return the form that `-f` and `-x` ask for."""
    if format == "code":
        return Form(_code_bundle, _code_text, _code_note)
    if extract:
        return Form(_first_bundle, _first_code, _first_note)
    return _FORMS[format]


def new_cell(text: str) -> str | None:
    r"""Return the code of an answer as a cell that runs; None if there is none.

    That are its blocks of Python, or else its first block, under the cell magic of its language; or
    the whole answer, where it is Python without fences.

    >>> new_cell("First\n```python\nx = 1\n```\nthen\n```python\nx\n```")
    'x = 1\n\nx'
    >>> new_cell("Run\n```bash\nls\n```")
    '%%bash\nls'
    >>> new_cell("x = [1,\n     2]\n"), new_cell("I cannot do that.")
    ('x = [1,\n     2]', None)
    """
    found = [block for block in blocks(text) if block.code.strip()]
    if not found:
        return text.strip("\n") if text.strip() and _is_python(text) else None
    python = [block.code.strip("\n") for block in found if block.language in _PYTHON]
    if python:
        return "\n\n".join(python)
    first = found[0]
    magic = _CELL_MAGICS.get(first.language)
    code = first.code.strip("\n")
    return f"{magic}\n{code}" if magic else code


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _code_bundle(text: str) -> dict[str, Any]:
    # What is in the cell below need not be here, too.
    return {} if new_cell(text) is not None else _as_it_is(text)


def _code_text(text: str) -> str:
    return "" if new_cell(text) is not None else text


def _code_note(text: str) -> str:
    code = new_cell(text)
    if code is None:
        return "no code in the answer"
    count = code.count("\n") + 1
    return f"{count} line{'' if count == 1 else 's'} of code in the next cell"


def _first_code(text: str) -> str:
    found = blocks(text)
    return found[0].code if found else text


def _first_bundle(text: str) -> dict[str, Any]:
    found = blocks(text)
    if not found:
        return _as_it_is(text)
    first = found[0]
    return {"text/plain": first.code, "text/markdown": fenced(first.code, first.language)}


def _first_note(text: str) -> str:
    return "" if blocks(text) else "no block of code in the answer: this is all of it"


def _as_it_is(text: str) -> dict[str, Any]:
    return {"text/plain": text or " ", "text/markdown": harmless(text) or " "}


def _json_text(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def _json_bundle(text: str) -> dict[str, Any]:
    bundle: dict[str, Any] = {"text/plain": _json_text(text) or " "}
    try:
        found = json.loads(text)
    except ValueError:
        return bundle
    # Front ends draw a tree of an object or a list, and nothing of a lone number.
    return bundle | ({"application/json": found} if isinstance(found, dict | list) else {})


def _html_bundle(text: str) -> dict[str, Any]:
    from hyperllama_nb.magics._html import shown

    found = blocks(text)
    html = next((block.code for block in found if block.language == "html"), None)
    if html is None:
        html = found[0].code if found else text
    return {"text/plain": html or " ", "text/html": shown(html)}


def _math_bundle(text: str) -> dict[str, Any]:
    found = [block.code for block in blocks(text) if block.language in {"latex", "tex", "math"}]
    math = "\n".join(found) if found else text
    typeset = math if _MATH.search(math) else f"$$\n{math.strip()}\n$$"
    return {"text/plain": math or " ", "text/latex": typeset}


_FORMS = {
    "markdown": Form(),
    "text": Form(),
    "json": Form(_json_bundle, _json_text),
    "html": Form(_html_bundle),
    "math": Form(_math_bundle),
}
