"""The commands on the last error: `fix` and `explain`."""

import ast
import contextlib
import warnings
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hyperllama_nb.commands.options import (
    Parser,
    UsageError,
    add_keep_alive,
    add_sampling,
    options_from,
)

if TYPE_CHECKING:
    from hyperllama_nb.magics._last_error import CellError
    from hyperllama_nb.magics._magics import HyperLlamaMagics

NO_ERROR = "No cell has failed by its own code since the extension was loaded."

NO_CODE = (
    "The answer has no other code that could run. Ask again, with a larger model if there is one."
)

SOURCE = 6_000
TRACEBACK = 3_000
"""Characters; together some 3,000 tokens, which leaves a quarter of the usual context to answer."""

ASKED = {
    "fix": "Write the whole cell again with the error corrected, as one block of Python code. "
    "Change nothing else. Then say in one sentence what was wrong.",
    "explain": "Explain in a few sentences what the error means, which line of the cell causes it "
    "and why, and how to correct it.",
}


def add_arguments(parser: Parser) -> None:
    """Add the arguments of both commands."""
    parser.add_argument("name", metavar="MODEL", nargs="?", help="the model to ask")
    parser.add_argument("-m", "--model", metavar="MODEL", help="the same, as an option")
    parser.add_argument(
        "--cell", type=int, metavar="N", help="the error of In[N], in place of the last"
    )
    parser.add_argument(
        "-u", "--stats", action="store_true", help="tell more under the answer: prompt, load, queue"
    )
    add_sampling(parser)
    add_keep_alive(parser)


def fix(magics: "HyperLlamaMagics", args: Namespace) -> str | None:
    """Show how a model corrects the cell that failed, and put its code into a new cell."""
    error = _error(magics, args)
    if error is None:
        return NO_ERROR
    shell: Any = magics.shell
    code = corrected(_ask(magics, args, prompt(error, "fix")), error.source, shell.transform_cell)
    if code is None:
        return NO_CODE
    shell.set_next_input(code, replace=False)
    return None


def explain(magics: "HyperLlamaMagics", args: Namespace) -> str | None:
    """Show what a model says of the error."""
    error = _error(magics, args)
    if error is None:
        return NO_ERROR
    _ask(magics, args, prompt(error, "explain"))
    return None


def prompt(error: "CellError", asked: str) -> str:
    """Return the request to fix or explain an error, cut to what a small context holds.

    Of the source the lines around the failing one stay, of the traceback its end.
    """
    from hyperllama_nb.display.fences import fenced

    where = "A cell of a notebook" if error.number is None else f"Cell In[{error.number}]"
    line = "" if error.line is None else f" in line {error.line}"
    return "\n\n".join(
        [
            f"{where} failed{line}. This is its code:",
            fenced(around(error.source, error.line, SOURCE), "python"),
            "This is the error:",
            fenced(tail(error.traceback, TRACEBACK), ""),
            ASKED[asked],
        ]
    )


def corrected(text: str, source: str, transform: Callable[[str], str] = str) -> str | None:
    r"""Return the first whole block of an answer that is Python, and not the cell that failed.

    Small models quote the traceback, or the cell as it was, and do not say which block is which.
    `transform` makes Python of what IPython understands. None if there is no such block.

    >>> corrected("```\nIt failed:\n```\n```python\nx = 1\n```", "x = ")
    'x = 1'
    >>> corrected("The cell:\n```\nx = y\n```", "x = y\n"), corrected("```\nx = [1,", "x = ")
    (None, None)
    """
    from hyperllama_nb.display.fences import blocks, close_fence

    found = [block.code.strip("\n") for block in blocks(text)]
    if close_fence(text) != text:
        # what is cut may still be Python, and lack its end
        del found[-1:]
    elif not found and not text.strip().isidentifier():
        found = [text.strip("\n")]
    with warnings.catch_warnings(action="ignore"):
        for code in found:
            with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
                ast.parse(transform(code))
                if code.strip() and code.strip() != source.strip():
                    return code
    return None


def around(source: str, line: int | None, most: int) -> str:
    r"""Return the lines around one, in at most so many characters; the last ones without it.

    >>> around("one\ntwo\nthree\nfour\nfive", 3, 16)
    '[…]\ntwo\nthree\nfour\n[…]'
    >>> around("one\ntwo", 1, 99)
    'one\ntwo'
    """
    lines = source.split("\n")
    first = min(line or len(lines), len(lines)) - 1
    last = first + 1
    while True:
        wider = max(0, first - 1), min(len(lines), last + 1)
        if wider == (first, last) or len("\n".join(lines[slice(*wider)])) > most:
            break
        first, last = wider
    above, below = "[…]\n" if first else "", "\n[…]" if last < len(lines) else ""
    return above + "\n".join(lines[first:last])[:most] + below


def tail(text: str, most: int) -> str:
    r"""Return the last whole lines of a text, in at most so many characters.

    >>> tail("one\ntwo\nthree", 9)
    '[…]\ntwo\nthree'
    """
    if len(text) <= most:
        return text
    end = text[-most:]
    whole = end if text[-most - 1] == "\n" else end.partition("\n")[2]
    return f"[…]\n{whole or end}"


def _error(magics: "HyperLlamaMagics", args: Namespace) -> "CellError | None":
    """Return the error that is meant; raises UsageError for a cell that has none."""
    if args.cell is None:
        return magics.last_error.last
    found = magics.last_error.at(args.cell)
    if found is None:
        raise UsageError(
            f"In[{args.cell}] has not failed, or so long ago that its error is forgotten. "
            "Run the cell again, and then this."
        )
    return found


def _ask(magics: "HyperLlamaMagics", args: Namespace, text: str) -> str:
    """Stream the answer into this cell as a `%%llm` would, outside any conversation; return it."""
    from hyperllama_nb.magics._arguments import named_model, parse
    from hyperllama_nb.magics._cell import Cell

    line = parse("--verbatim --no-history")
    line.model = named_model(args)
    line.options, line.keep_alive, line.stats = options_from(args), args.keep_alive, args.stats
    Cell(magics, line, text).run()
    shell: Any = magics.shell
    return str(shell.user_ns["_llm"].text)
