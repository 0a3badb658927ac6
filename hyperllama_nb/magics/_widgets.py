"""The commands that show a widget: `chat`, `models`, `monitor`, `benchmark`."""

import argparse
import re
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from hyperllama_nb.commands import execute
from hyperllama_nb.commands.context import CellContext
from hyperllama_nb.commands.options import Parser, UsageError, add_system

if TYPE_CHECKING:
    from hyperllama_nb.magics._magics import HyperLlamaMagics

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min)?")


def add_chat_arguments(parser: Parser) -> None:
    """Add the arguments of `chat`."""
    parser.add_argument("model", metavar="MODEL", nargs="?", help="the model to talk to")
    parser.add_argument(
        "-c", "--chat", metavar="NAME", help="begin with what was said in that conversation"
    )
    add_system(parser)
    _add_out(parser)


def chat(magics: "HyperLlamaMagics", args: Namespace) -> str | None:
    """Show a chat; it has a copy of the conversation, and the notebook's own stays as it is."""
    from hyperllama_nb.magics import _chat_commands

    model = magics.resolve(args.model) if args.model else None
    said = None if args.chat is None else _chat_commands.find(magics.conversations, args.chat)
    if not _in_notebook():
        name = model or magics.resolve(magics.model)
        return f"A chat needs a notebook. In a terminal, `hyperllama run {name}` is one."
    from hyperllama_nb.widgets import Chat

    shown = Chat(
        model or (said.model if said else None) or magics.resolve(magics.model),
        system=magics.system if args.system is None else args.system,
        options=magics.options,
        messages=said,
        name=args.chat,
    )
    _show(magics, args, shown)
    return None


def add_models_arguments(parser: Parser) -> None:
    """Add the arguments of `models`."""
    _add_out(parser)


def models(magics: "HyperLlamaMagics", args: Namespace) -> None:
    """Show the models with all that can be done with them; in a terminal, list them."""
    if not _in_notebook():
        _show_text("list")
        return
    from hyperllama_nb.widgets import Models

    _show(magics, args, Models())


def add_monitor_arguments(parser: Parser) -> None:
    """Add the arguments of `monitor`."""
    parser.add_argument("model", metavar="MODEL", nargs="?", help="only the engine of this model")
    parser.add_argument(
        "--window",
        type=seconds,
        metavar="TIME",
        default=60.0,
        help="how much the figure shows: 60 (seconds, the default) to 15m",
    )
    parser.add_argument(
        "--for",
        dest="duration",
        type=seconds,
        metavar="TIME",
        help="end by itself after so long, and leave a figure",
    )
    _add_out(parser)


def monitor(magics: "HyperLlamaMagics", args: Namespace) -> None:
    """Show what the service does for all its clients; in a terminal, what its engines do now."""
    if not _in_notebook():
        _show_text("ps")
        return
    from hyperllama_nb.widgets import Monitor

    model = magics.resolve(args.model) if args.model else None
    _show(magics, args, Monitor(model, window=args.window, duration=args.duration))


def add_benchmark_arguments(parser: Parser) -> None:
    """Add the arguments of `benchmark`."""
    parser.add_argument("model", metavar="MODEL", nargs="?", help="the model to measure")
    parser.add_argument(
        "--targets", metavar="LIST", help="backends, ollama, URLs, by commas (default: backends)"
    )
    parser.add_argument("--quick", action="store_true", help="short prompts and answers, 3 blocks")
    _add_out(parser)


def benchmark(magics: "HyperLlamaMagics", args: Namespace) -> str | None:
    """Show a comparison that can be chosen, started and seen live."""
    model = magics.resolve(args.model) if args.model else magics.resolve(magics.model)
    targets = args.targets.split(",") if args.targets else None
    if not _in_notebook():
        named = args.targets or "LIST"
        return (
            "The widget needs a notebook. In a terminal, "
            f"`hyperllama bench {model} --targets {named}` compares engines."
        )
    from hyperllama_nb.widgets import Benchmark

    _show(magics, args, Benchmark(model, targets, quick=args.quick))
    return None


def seconds(text: str) -> float:
    """Read a time as seconds.

    >>> seconds("90"), seconds("90s"), seconds("1.5m"), seconds("15min")
    (90.0, 90.0, 90.0, 900.0)
    """
    found = _SPAN.fullmatch(text.strip().lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 90 (seconds) or 5m")
    return float(found[1]) * (60 if found[2] in {"m", "min"} else 1)


def _add_out(parser: Parser) -> None:
    parser.add_argument("-O", "--out", metavar="NAME", help="keep the widget in a variable")


def _show(magics: "HyperLlamaMagics", args: Namespace, widget: Any) -> None:
    from IPython.display import display

    if args.out is not None:
        if not args.out.isidentifier():
            raise UsageError(f"-O needs the name of a variable, and {args.out!r} is none.")
        shell: Any = magics.shell
        shell.user_ns[args.out] = widget
    display(widget)  # type: ignore[no-untyped-call]


def _show_text(command: str) -> None:
    """Show the nearest thing that a terminal has."""
    context = CellContext()
    context.note("Widgets need a notebook; this is what there is in text.")
    execute([command], context)


def _in_notebook() -> bool:
    from hyperllama_nb.display.sinks import in_kernel

    return in_kernel()
