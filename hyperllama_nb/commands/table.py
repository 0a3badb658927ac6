"""The table of commands."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hyperllama_nb.commands import (
    answer,
    bench,
    chat,
    connect,
    engines,
    keys,
    machine,
    service,
    store,
)
from hyperllama_nb.commands.options import Parser, UsageError

if TYPE_CHECKING:
    from argparse import Namespace

    from hyperllama_nb.commands.context import Context


@dataclass(frozen=True)
class Command:
    """One command: `run` returns a table or a text to show, or None when it wrote by itself."""

    name: str
    help: str
    add_arguments: Callable[[Parser], None]
    run: "Callable[[Context, Namespace], Any]"
    example: str

    def parser(self, prog: str) -> Parser:
        """Return the parser of the arguments that follow the command's name."""
        parser = Parser(
            f"{prog} {self.name}",
            description=self.help,
            epilog=f"example:\n  {prog} {self.example}",
        )
        self.add_arguments(parser)
        return parser


COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command(
            "run",
            "Answer one prompt, or chat when there is none.",
            chat.add_arguments,
            chat.run,
            'run smollm2:135m "Why is the sky blue?"',
        ),
        Command(
            "generate",
            "Write the answer to a prompt, and nothing else, to standard output.",
            answer.add_arguments,
            answer.run,
            'generate smollm2:135m "What is the capital of France?" --temperature 0',
        ),
        Command(
            "pull",
            "Fetch a model into the store.",
            store.add_pull_arguments,
            store.pull,
            "pull smollm2:135m",
        ),
        Command(
            "list", "List the models in the store.", store.add_list_arguments, store.list_, "list"
        ),
        Command(
            "show",
            "Show what a model is: sizes, context, template, licence.",
            store.add_show_arguments,
            store.show,
            "show smollm2:135m",
        ),
        Command(
            "rm",
            "Remove models from the store.",
            store.add_rm_arguments,
            store.rm,
            "rm smollm2:135m",
        ),
        Command(
            "load",
            "Load a model, so that the first answer need not wait for it.",
            engines.add_load_arguments,
            engines.load,
            "load smollm2:135m --keep-alive 1h",
        ),
        Command(
            "unload",
            "End the engines of models and free their memory.",
            engines.add_unload_arguments,
            engines.unload,
            "unload smollm2:135m",
        ),
        Command(
            "ps", "List the engines that are running.", service.add_no_arguments, engines.ps, "ps"
        ),
        Command(
            "bench",
            "Measure one prompt several times, or compare engines.",
            bench.add_arguments,
            bench.run,
            'bench smollm2:135m "Tell me a story." -i 5',
        ),
        Command(
            "info",
            "Show this machine, its accelerators, the backends and the store.",
            service.add_no_arguments,
            machine.info,
            "info",
        ),
        Command(
            "start",
            "Start the engine service.",
            service.add_start_arguments,
            service.start,
            "start",
        ),
        Command(
            "stop",
            "End the engine service and all its engines.",
            service.add_stop_arguments,
            service.stop,
            "stop",
        ),
        Command(
            "status",
            "Show the engine service: where it runs, what it serves, and to whom.",
            service.add_no_arguments,
            service.status,
            "status",
        ),
        Command(
            "serve",
            "Let programs reach the service over TCP, as they would reach Ollama.",
            service.add_serve_arguments,
            service.serve,
            "serve --port 11434",
        ),
        Command(
            "connect",
            "Show or set what other programs need to reach the engine: a host and a key.",
            connect.add_arguments,
            connect.connect,
            "connect",
        ),
        Command(
            "key",
            "Make, list and revoke keys, which let programs in from elsewhere.",
            keys.add_arguments,
            keys.key,
            "key create --scope infer --expires 30d",
        ),
        Command(
            "logs",
            "Show the log of the service, or of a model's engine.",
            engines.add_logs_arguments,
            engines.logs,
            "logs smollm2:135m -n 50",
        ),
        Command(
            "setup-max",
            "Install MAX into a private environment, apart from this one.",
            service.add_no_arguments,
            machine.setup_max,
            "setup-max",
        ),
    )
}
"""The commands by name, in the order of the overview."""


def find(name: str) -> Command:
    """Return a command; raises UsageError with a close match for an unknown name."""
    command = COMMANDS.get(name)
    if command is None:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        advice = f"Did you mean `{close[0]}`?" if close else f"Commands: {', '.join(COMMANDS)}."
        raise UsageError(f"There is no command {name!r}. {advice}")
    return command


def overview(prog: str) -> str:
    """Return the text that lists all commands."""
    width = max(len(name) for name in COMMANDS)
    lines = [f"usage: {prog} COMMAND [options]", ""]
    lines += [f"  {command.name:<{width}}  {command.help}" for command in COMMANDS.values()]
    lines += ["", f"`{prog} COMMAND --help` shows a command's options."]
    return "\n".join(lines)
