"""The line of a `%%llm` cell."""

import shlex
from argparse import Namespace
from typing import Any

from hyperllama_nb.commands.options import (
    Parser,
    UsageError,
    add_keep_alive,
    add_sampling,
    add_system,
    options_from,
)

PROG = "%%llm"


def build_parser() -> Parser:
    """Return the parser of the line."""
    parser = Parser(
        PROG,
        description="Send the cell to a model and show the answer as it is written.",
        epilog='example:\n  %%llm smollm2:135m --temperature 0 -s "Answer in one sentence."',
    )
    parser.add_argument("name", metavar="MODEL", nargs="?", help="the model, such as smollm2:135m")
    parser.add_argument("-m", "--model", metavar="MODEL", help="the same, as an option")
    add_system(parser)
    parser.add_argument(
        "-c",
        "--chat",
        metavar="NAME",
        help="go on with the conversation of that name, or begin it",
    )
    parser.add_argument(
        "-O", "--out", metavar="NAME", help="keep the Response in a variable (always: in _llm)"
    )
    parser.add_argument(
        "-f",
        "--format",
        choices=("markdown", "text"),
        default="markdown",
        help="how to show the answer (default markdown)",
    )
    parser.add_argument(
        "--plot", action="store_true", help="plot the tokens per second while they come"
    )
    parser.add_argument(
        "--stats", action="store_true", help="tell more under the answer: prompt, load, queue"
    )
    parser.add_argument(
        "--raw", action="store_true", help="send the cell as it is, without the model's template"
    )
    add_sampling(parser)
    add_keep_alive(parser)
    return parser


def parse(line: str) -> Namespace:
    """Parse the line; adds `options`, the request's options as a dict.

    Raises UsageError, with a close match for a mistyped option, and HelpShown after `--help`.
    """
    args = build_parser().parse(split(line, PROG))
    if args.name and args.model and args.name != args.model:
        raise UsageError(f"Two models are named: {args.name} and {args.model}. Leave one out.")
    if args.out is not None and not args.out.isidentifier():
        raise UsageError(f"-O needs the name of a variable, and {args.out!r} is none.")
    if args.raw and (args.system or args.chat):
        raise UsageError(
            "--raw sends the cell as it is: it cannot be combined with --system or --chat."
        )
    args.model = args.model or args.name
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
