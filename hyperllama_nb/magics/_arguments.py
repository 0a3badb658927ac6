"""The line of a `%%llm` cell."""

import difflib
import keyword
import re
import shlex
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from hyperllama_nb.commands.options import (
    OPTIONS,
    Parser,
    UsageError,
    add_keep_alive,
    add_sampling,
    add_system,
    options_from,
)

PROG = "%%llm"

FORMATS = ("markdown", "text", "code", "html", "json", "math")

THINK = {"true": True, "false": False, "low": "low", "medium": "medium", "high": "high"}

_LEVELS = [[level] for level in THINK]

_ASSIGNMENT = re.compile(r"^\s*(?P<name>[^\W\d]\w*)\s*<<(?:\s+|$)")


def build_parser() -> Parser:
    """Return the parser of the line."""
    parser = Parser(
        PROG,
        description="Send the cell to a model and show the answer as it is written. In the cell "
        "and in this line, {name} stands for the value of a variable.",
        epilog="examples:\n"
        '  %%llm smollm2:135m --temperature 0 -s "Answer in one sentence."\n'
        "  %%llm answer << -f json        the answer goes into the variable, unseen",
    )
    parser.add_argument("name", metavar="MODEL", nargs="?", help="the model, such as smollm2:135m")
    parser.add_argument("-m", "--model", metavar="MODEL", help="the same, as an option")
    add_system(parser)
    _add_conversation(parser)
    _add_output(parser)
    parser.add_argument(
        "--think",
        metavar="LEVEL",
        choices=THINK,
        help="let the model think first: true, false, low, medium, high",
    )
    parser.add_argument(
        "--bg", action="store_true", help="go on with the next cell; a handle is in _llm"
    )
    parser.add_argument(
        "--verbatim", action="store_true", help="send braces as they are: no {name} is replaced"
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="send the cell without the model's template; {name} is still replaced",
    )
    add_sampling(parser)
    add_keep_alive(parser)
    return parser


def parse(line: str, fill: Callable[[str], str] = str) -> Namespace:
    """Parse the line; adds `options`, the request's options as a dict, and `quiet`.

    `fill` puts values into each word, unless `--verbatim` is one. `quiet` says that the line began
    with `name <<`, and the name is then `out`. Raises UsageError, with a close match for a mistyped
    option, and HelpShown after `--help`.
    """
    assigned = _ASSIGNMENT.match(line)
    words = split(line[assigned.end() :] if assigned else line, PROG)
    if "--verbatim" not in words:
        words = [fill(word) for word in words]
    args = build_parser().parse(_with_level(words))
    if assigned and args.out not in {None, assigned["name"]}:
        raise UsageError(f"Two variables are named: {assigned['name']} and {args.out}.")
    args.quiet = assigned is not None
    args.out = assigned["name"] if assigned else args.out
    args.model = named_model(args)
    _check(args)
    if args.think is not None:
        args.think = THINK[args.think]
    given: dict[str, Any] = options_from(args)
    args.options = given
    return args


def split(line: str, prog: str) -> list[str]:
    """Split a line into words as a shell does; raises UsageError for an open quote."""
    try:
        return shlex.split(line)
    except ValueError:
        raise UsageError(
            f"A quote is opened and not closed: {line.strip()}. Close it; inside a word write \\'. "
            f"See `{prog} --help`."
        ) from None


def _add_conversation(parser: Parser) -> None:
    parser.add_argument(
        "-c",
        "--chat",
        metavar="NAME",
        help="go on with the conversation of that name, or begin it",
    )
    parser.add_argument(
        "--no-history", action="store_true", help="neither read a conversation nor add to it"
    )


def _add_output(parser: Parser) -> None:
    parser.add_argument(
        "-O", "--out", metavar="NAME", help="keep the Response in a variable (always: in _llm)"
    )
    parser.add_argument(
        "-f",
        "--format",
        choices=FORMATS,
        help="how to show the answer (default markdown); code goes into a new cell, "
        "json is asked for and parsed",
    )
    parser.add_argument(
        "-x", "--extract", action="store_true", help="show the first block of code only"
    )
    parser.add_argument(
        "--schema",
        metavar="SCHEMA",
        help="the form of the answer, which is parsed: a variable with a JSON schema or a class of "
        "pydantic, a file, or JSON",
    )
    parser.add_argument(
        "--plot", action="store_true", help="plot the tokens per second while they come"
    )
    parser.add_argument(
        "-u",
        "--stats",
        action="store_true",
        help="tell more under the answer: prompt, load, queue",
    )


def _with_level(words: list[str]) -> list[str]:
    """Return the words with a bare `--think` made `--think=true`: the next word may be a model."""
    return [
        "--think=true" if word == "--think" and words[place : place + 1] not in _LEVELS else word
        for place, word in enumerate(words, 1)
    ]


def named_model(args: Namespace) -> str | None:
    """Return the model that a line names, as its first word or by -m; raises UsageError for two."""
    if args.name and args.model and args.name != args.model:
        raise UsageError(f"Two models are named: {args.name} and {args.model}. Leave one out.")
    found: str | None = args.model or args.name
    return found


def _check(args: Namespace) -> None:
    """Raise UsageError for what cannot be, or cannot be together."""
    if args.out is not None and (not args.out.isidentifier() or keyword.iskeyword(args.out)):
        raise UsageError(f"-O needs the name of a variable, and {args.out!r} is none.")
    for name, _ in args.option or ():
        if name not in OPTIONS:
            close = difflib.get_close_matches(name, OPTIONS, n=1)
            advice = f"Did you mean {close[0]}?" if close else f"`{PROG} --help` lists them."
            raise UsageError(f"Ollama has no option {name!r}. {advice}")
    if args.raw and (args.system or args.chat):
        raise UsageError(
            "--raw sends the cell as it is: it cannot be combined with --system or --chat."
        )
    if args.chat and args.no_history:
        raise UsageError("--chat and --no-history contradict each other. Leave one out.")
    if args.schema is not None and args.format not in {None, "json", "text", "markdown"}:
        raise UsageError(f"--schema asks for JSON, which is not shown as {args.format}.")
    if args.extract and args.format not in {None, "markdown", "text"}:
        raise UsageError(f"--extract shows code: it cannot be combined with -f {args.format}.")
    if args.bg and (args.format == "code" or args.plot):
        other = "-f code: a new cell comes with the end of its own" if not args.plot else "--plot"
        raise UsageError(f"--bg cannot be combined with {other}.")
