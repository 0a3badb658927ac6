"""The `%llm` commands of a kernel, beside those of a terminal: conversations, errors, widgets."""

import difflib
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hyperllama_nb.commands import COMMANDS, HelpShown, Parser, UsageError
from hyperllama_nb.commands.context import CellContext
from hyperllama_nb.magics import _chat_commands, _fix, _settings, _widgets

if TYPE_CHECKING:
    from hyperllama_nb.magics._magics import HyperLlamaMagics

PROG = "%llm"


@dataclass(frozen=True)
class KernelCommand:
    """One command: `run` returns what to show, or None when it showed it by itself."""

    name: str
    help: str
    add_arguments: Callable[[Parser], None]
    run: "Callable[[HyperLlamaMagics, Namespace], Any]"
    example: str

    def parser(self) -> Parser:
        """Return the parser of the arguments that follow the command's name."""
        parser = Parser(
            f"{PROG} {self.name}",
            description=self.help,
            epilog=f"example:\n  {PROG} {self.example}",
        )
        self.add_arguments(parser)
        return parser


def _add_nothing(parser: Parser) -> None:
    """Add no arguments."""


KERNEL_COMMANDS: dict[str, KernelCommand] = {
    command.name: command
    for command in (
        KernelCommand(
            "chats",
            "List the conversations, with what each takes of its model's context.",
            _add_nothing,
            _chat_commands.chats,
            "chats",
        ),
        KernelCommand(
            "history",
            "Show what was said in a conversation.",
            _chat_commands.add_history_arguments,
            _chat_commands.history,
            "history trip",
        ),
        KernelCommand(
            "reset",
            "Forget a conversation.",
            _chat_commands.add_reset_arguments,
            _chat_commands.reset,
            "reset trip",
        ),
        KernelCommand(
            "save",
            "Write a conversation into a file.",
            _chat_commands.add_save_arguments,
            _chat_commands.save,
            "save trip trip.json",
        ),
        KernelCommand(
            "restore",
            "Read a conversation from a file.",
            _chat_commands.add_restore_arguments,
            _chat_commands.restore,
            "restore trip.json --as holidays",
        ),
        KernelCommand(
            "fix",
            "Let a model correct the cell that failed last, in a new cell.",
            _fix.add_arguments,
            _fix.fix,
            "fix",
        ),
        KernelCommand(
            "explain",
            "Let a model explain the last error.",
            _fix.add_arguments,
            _fix.explain,
            "explain",
        ),
        KernelCommand(
            "alias",
            "Make a short name for a model, or list those there are.",
            _settings.add_alias_arguments,
            _settings.alias,
            "alias fast smollm2:135m",
        ),
        KernelCommand(
            "unalias",
            "Forget a short name.",
            _settings.add_unalias_arguments,
            _settings.unalias,
            "unalias fast",
        ),
        KernelCommand(
            "config",
            "Show the settings of the magics and where each comes from.",
            _settings.add_config_arguments,
            _settings.config,
            "config model",
        ),
        KernelCommand(
            "chat",
            "Show a chat.",
            _widgets.add_chat_arguments,
            _widgets.chat,
            "chat smollm2:135m",
        ),
        KernelCommand(
            "models",
            "Show the models: what is here, what fits, what can be fetched.",
            _widgets.add_models_arguments,
            _widgets.models,
            "models",
        ),
        KernelCommand(
            "monitor",
            "Show live what the engines do.",
            _widgets.add_monitor_arguments,
            _widgets.monitor,
            "monitor --window 5m",
        ),
        KernelCommand(
            "benchmark",
            "Show a comparison of engines that is started, paused and seen live.",
            _widgets.add_benchmark_arguments,
            _widgets.benchmark,
            "benchmark smollm2:135m --targets max,llamacpp",
        ),
    )
}
"""The commands by name, in the order of the overview."""


def run(magics: "HyperLlamaMagics", argv: list[str]) -> bool:
    """Run a command line of `%llm`; False if its first word is a command of the terminal.

    An empty line, `help` and `--help` show the overview of both. Raises UsageError, with a close
    match, for a word that is neither.
    """
    context = CellContext()
    if argv and argv[0] == "help" and len(argv) == 2:
        argv = [argv[1], "--help"]
    if not argv or argv[0] in {"help", "-h", "--help"}:
        context.show(overview())
        return True
    command = KERNEL_COMMANDS.get(argv[0])
    if command is None:
        if argv[0] in COMMANDS:
            return False
        raise _unknown(argv[0])
    try:
        args = command.parser().parse(argv[1:])
    except HelpShown:
        return True
    result = command.run(magics, args)
    if result is not None:
        context.show(result)
    return True


def overview() -> str:
    """Return the text that lists all commands of `%llm`."""
    width = max(map(len, [*KERNEL_COMMANDS, *COMMANDS]))

    def lines(commands: Any) -> list[str]:
        return [f"  {command.name:<{width}}  {command.help}" for command in commands]

    return "\n".join(
        [
            f"usage: {PROG} COMMAND [options]",
            "       %%llm [MODEL] [options]",
            "",
            "in this notebook:",
            *lines(KERNEL_COMMANDS.values()),
            "",
            "models and engines:",
            *lines(COMMANDS.values()),
            "",
            f"`{PROG} COMMAND --help` shows a command's options, `%%llm --help` those of a cell.",
        ]
    )


def help_text() -> str:
    """Return what `%llm?` shows: all commands, and the options of a cell."""
    from hyperllama_nb.magics._arguments import build_parser

    return f"{overview()}\n\n{build_parser().format_help()}"


def _unknown(name: str) -> UsageError:
    known = [*KERNEL_COMMANDS, *COMMANDS]
    close = difflib.get_close_matches(name, known, n=1)
    advice = f"Did you mean `{close[0]}`?" if close else f"Commands: {', '.join(known)}."
    return UsageError(f"There is no command {name!r}. {advice}")
