"""The command `generate`: one prompt in, one answer out."""

import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from hyperllama_nb.commands.options import (
    Parser,
    UsageError,
    add_keep_alive,
    add_model,
    add_prompt,
    add_sampling,
    add_system,
    options_from,
)

if TYPE_CHECKING:
    from hyperllama_nb.commands.context import Context


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `generate`."""
    add_model(parser)
    add_prompt(parser, "the prompt; standard input when it is missing or -")
    parser.add_argument(
        "--raw", action="store_true", help="send the prompt as it is, without the model's template"
    )
    add_request(parser)


def add_request(parser: Parser) -> None:
    """Add what `generate` and `run` have in common."""
    add_system(parser)
    add_keep_alive(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress and no statistics")
    add_sampling(parser)


def run(context: "Context", args: Namespace) -> None:
    """Answer the prompt; the answer goes to standard output as it arrives."""
    answer(context, args, prompt_from(context, args.prompt))


def answer(context: "Context", args: Namespace, prompt: str) -> None:
    """Stream the answer to one prompt."""
    request: dict[str, Any] = {"options": options_from(args), "keep_alive": args.keep_alive}
    if args.system is not None:
        request["system"] = args.system
    if getattr(args, "raw", False):
        request["raw"] = True
    stream = context.client.generate(args.model, prompt, stream=True, **request)
    context.stream(stream, quiet=args.quiet)


def prompt_from(context: "Context", prompt: str | None) -> str:
    """Return the prompt, read from standard input where the line gives none.

    Raises UsageError if there is none to be had.
    """
    if prompt not in {None, "-"}:
        return str(prompt)
    if context.cell:
        raise UsageError("The prompt is missing. Write it after the model, in quotes.")
    if sys.stdin.isatty():
        context.note("Type the prompt; Ctrl-D ends it.")
    text = sys.stdin.read()
    if not text.strip():
        raise UsageError("The prompt is empty. Give it after the model or on standard input.")
    return text
