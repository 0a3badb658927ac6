"""The commands behind `hyperllama` and `%llm`: one table, one implementation of each."""

from collections.abc import Callable, Sequence

from hyperllama_nb.commands.context import Context
from hyperllama_nb.commands.options import HelpShown, Parser, UsageError
from hyperllama_nb.commands.table import COMMANDS, Command, find, overview

__all__ = [
    "COMMANDS",
    "Command",
    "Context",
    "HelpShown",
    "Parser",
    "UsageError",
    "execute",
    "find",
    "overview",
]


def execute(argv: Sequence[str], context: Context, *, resolve: Callable[[str], str] = str) -> None:
    """Run one command line, without the program's name, and show its result.

    An empty line, `help` and `--help` show the overview. `resolve` returns the model that a name
    stands for. Raises UsageError for a line that does not follow the grammar, and HyperLlamaError
    for what went wrong.
    """
    if not argv or argv[0] in {"help", "-h", "--help"}:
        if len(argv) == 2 and argv[0] == "help":
            argv = [argv[1], "--help"]
        else:
            context.show(overview(context.prog))
            return
    command = find(argv[0])
    parser = command.parser(context.prog)
    try:
        args = parser.parse(argv[1:])
    except HelpShown:
        return
    if getattr(args, "model", None):
        args.model = resolve(args.model)
    if getattr(args, "models", None):
        args.models = [resolve(model) for model in args.models]
    result = command.run(context, args)
    if result is not None:
        context.show(result)
