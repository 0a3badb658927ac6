"""The commands on engines: `load`, `unload`, `ps`, `logs`."""

import time
from argparse import Namespace
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperllama_nb.commands import words
from hyperllama_nb.commands.options import Parser, add_load, add_model, options_from
from hyperllama_nb.display.tables import Table, human_ago, human_bytes, human_duration
from hyperllama_nb.errors import HyperLlamaError, ServiceError

if TYPE_CHECKING:
    from hyperllama_nb.commands.context import Context

FOLLOW_INTERVAL = 0.3
"""Seconds between two looks at a log that is followed."""


def add_load_arguments(parser: Parser) -> None:
    """Add the arguments of `load`."""
    add_model(parser)
    add_load(parser)


def load(context: "Context", args: Namespace) -> None:
    """Load a model, with its phases told."""
    lines = context.client.load_progress(
        args.model, options=options_from(args), keep_alive=args.keep_alive
    )
    context.follow(lines, f"Loading {args.model}")


def add_unload_arguments(parser: Parser) -> None:
    """Add the arguments of `unload`."""
    parser.add_argument("models", metavar="MODEL", nargs="*", help="models to unload")
    parser.add_argument("--all", action="store_true", help="every model that is loaded")


def unload(context: "Context", args: Namespace) -> str:
    """Unload models; returns when their engines are gone."""
    names: list[str] = args.models
    try:
        if args.all or not names:
            loaded = [engine["model"] for engine in context.running.status()["engines"]]
            if not args.all and len(loaded) > 1:
                raise HyperLlamaError(
                    f"Several models are loaded: {words.listing(loaded)}. Name one, or use --all."
                )
            names = loaded
        for name in names:
            context.running.unload(name)
    except ServiceError:
        names = []
    return f"Unloaded {words.listing(names)}." if names else "No model is loaded."


def ps(context: "Context", args: Namespace) -> Table | str:  # noqa: ARG001
    """Return the engines, what they hold and how long they stay."""
    try:
        engines = context.running.status()["engines"]
    except ServiceError:
        engines = []
    if not engines:
        return "No engine is running."
    return Table(
        ("MODEL", "STATE", "BACKEND", "MEMORY", "CONTEXT", "RUNNING", "QUEUED", "UNTIL"),
        [
            (
                engine["model"],
                _state(engine),
                f"{engine['backend']} on {engine['device']}",
                human_bytes(engine["memory"]),
                str(engine["context_length"]),
                f"{engine['running']} of {engine['batch_size']}",
                str(engine["queued"]),
                _until(engine),
            )
            for engine in engines
        ],
    )


def _state(engine: dict[str, Any]) -> str:
    if engine.get("asleep"):
        return f"{engine['state']}, asleep"
    if engine["state"] != "loading":
        return str(engine["state"])
    return f"loading: {engine['phase']}, {human_duration(engine['elapsed'])}"


def _until(engine: dict[str, Any]) -> str:
    if engine["leases"]:
        return f"in use by {words.plural(engine['leases'], 'client')}"
    expires = words.moment(engine["expires_at"])
    return "forever" if expires is None else human_ago(expires)


def add_logs_arguments(parser: Parser) -> None:
    """Add the arguments of `logs`."""
    parser.add_argument("model", metavar="MODEL", nargs="?", help="the service itself when missing")
    parser.add_argument(
        "-n", "--lines", type=int, default=100, metavar="N", help="the last N lines (default 100)"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")


def logs(context: "Context", args: Namespace) -> str | None:
    """Show the end of a log; it is read as a file, so that it is there after a crash too."""
    path = _log(args.model)
    if not path.exists() and not args.follow:
        about = f"for {args.model}" if args.model else "of a service"
        return f"There is no log {about} yet ({path})."
    if path.exists():
        with path.open(encoding="utf-8", errors="replace") as file:
            text = "".join(deque(file, maxlen=max(1, args.lines)))
            position = file.tell()
        if not args.follow:
            return text.rstrip("\n")
        context.write(text)
    else:
        position = 0
    _follow(context, path, position)
    return None


def _log(model: str | None) -> Path:
    from hyperllama_nb.models.names import Name
    from hyperllama_nb.runtime import engine_log, log_path

    return log_path() if model is None else engine_log(Name.parse(model).display)


def _follow(context: "Context", path: Path, position: int) -> None:
    """Write what is added to a file until the user interrupts; a shrunk file begins anew."""
    try:
        while True:
            if path.exists():
                size = path.stat().st_size
                position = 0 if size < position else position
                with path.open("rb") as file:
                    file.seek(position)
                    added = file.read()
                position += len(added)
                if added:
                    context.write(added.decode("utf-8", "replace"))
            time.sleep(FOLLOW_INTERVAL)
    except KeyboardInterrupt:
        return
