"""The commands on the engine service: `start`, `stop`, `status`, `serve`."""

import ipaddress
import os
import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from hyperllama_nb.commands import words
from hyperllama_nb.commands.options import Parser, UsageError
from hyperllama_nb.display.tables import Table, human_bytes, human_duration
from hyperllama_nb.errors import ServiceError

if TYPE_CHECKING:
    from hyperllama_nb.commands.context import Context

NOT_RUNNING = "No service is running; the first call that needs one starts it."

GONE = 60.0
"""Seconds that a service which is told to stop at once gets before this is called a failure."""


def add_no_arguments(parser: Parser) -> None:
    """Add nothing: the command takes no arguments."""


def add_start_arguments(parser: Parser) -> None:
    """Add the arguments of `start`."""
    parser.add_argument(
        "--in-kernel", action="store_true", help="host it in a thread of this notebook's kernel"
    )


def start(context: "Context", args: Namespace) -> str:
    """Start the service, or say that it runs."""
    if args.in_kernel:
        if not context.cell:
            raise UsageError("--in-kernel needs a kernel: use `%llm start --in-kernel`.")
        from hyperllama_nb.client import start_in_kernel

        start_in_kernel()
        return "The service runs in this kernel and ends with it."
    status = context.client.status()
    return f"The service runs: process {status['pid']}, {status['runtime_dir']}"


def add_stop_arguments(parser: Parser) -> None:
    """Add the arguments of `stop`."""
    parser.add_argument(
        "--now", action="store_true", help="do not wait for the answers that are being written"
    )


def stop(context: "Context", args: Namespace) -> str:
    """Stop the service; returns when it and its engines are gone."""
    try:
        status = context.running.status()
        context.running.stop(wait=not args.now)
    except ServiceError:
        return "No service is running."
    begin = time.monotonic()
    told = begin
    while _lives(context, status):
        now = time.monotonic()
        if args.now and now - begin > GONE:
            raise ServiceError(
                f"The service (process {status['pid']}) has not ended after {GONE:.0f} s. "
                f"`{context.prog} logs` may tell why; `kill -9 {status['pid']}` ends it and its "
                "engines."
            )
        if now - told > 5:
            told = now
            context.note(f"waiting for the service to end, {human_duration(now - begin)}")
        time.sleep(0.05)
    return "The service has ended."


def _lives(context: "Context", status: dict[str, Any]) -> bool:
    """Say whether a stopped service is still there; a kernel outlives the service it hosts."""
    if status["host"] == "process":
        import psutil

        try:
            # A service that this very process started stays its zombie until it is waited for.
            return bool(psutil.Process(status["pid"]).status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False
    try:
        context.running.status()
    except ServiceError:
        return False
    return True


def status(context: "Context", args: Namespace) -> Table | str:  # noqa: ARG001
    """Return where the service runs, what it serves and to whom."""
    try:
        found = context.running.status()
    except ServiceError:
        return NOT_RUNNING
    hosted = "a process of its own" if found["host"] == "process" else "a notebook's kernel"
    rows = [
        ("host", f"{hosted}, process {found['pid']}"),
        ("version", f"{found['version']}, protocol {found['protocol']}"),
        ("environment", found["prefix"]),
        ("runtime directory", found["runtime_dir"]),
        ("models", found["models_dir"]),
        ("running for", human_duration(found["uptime"])),
        ("stays", f"{human_duration(found['linger'])} after its last use"),
        ("TCP", words.listing(found["listeners"])),
        *((f"backend {name}", _program(info)) for name, info in found["backends"].items()),
        *(("lease", _lease(lease)) for lease in found["leases"]),
        *(("engine", _engine(engine)) for engine in found["engines"]),
        *differences(found["env"]),
    ]
    return Table(("", ""), rows, title="The engine service")


def _program(info: dict[str, str]) -> str:
    return info.get("error") or f"{info['version']}, {info['path']}"


def _lease(lease: dict[str, Any]) -> str:
    return f"{lease['kind']}, process {lease['pid']}: {words.listing(lease['models'])}"


def _engine(engine: dict[str, Any]) -> str:
    # A service of another version may not tell it.
    launched = f" ({engine['launch']})" if engine.get("launch") else ""
    text = (
        f"{engine['model']}: {engine['state']}, {engine['backend']} on {engine['device']}"
        f"{launched}, process {engine['pid']}, {human_bytes(engine['memory'])}"
    )
    if engine["tcp"]:
        text += ", on a TCP port that other users of this machine can reach"
    return text + (f", {engine['error']}" if engine["error"] else "")


def differences(there: dict[str, str]) -> list[tuple[str, str]]:
    """Return a row for each relevant variable that the service has otherwise than we do."""
    from hyperllama_nb.runtime import ENVIRONMENT_RELEVANT

    rows: list[tuple[str, str]] = []
    for name in ENVIRONMENT_RELEVANT:
        here = os.environ.get(name)
        if here != there.get(name):
            told = [value if value is not None else "not set" for value in (there.get(name), here)]
            rows.append((name, f"{told[0]}; here {told[1]}"))
    return rows


def add_serve_arguments(parser: Parser) -> None:
    """Add the arguments of `serve`."""
    parser.add_argument("--host", default="127.0.0.1", help="address (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=11434, help="port (default 11434)")
    parser.add_argument(
        "--stop", action="store_true", help="in a notebook: close what `%%llm serve` opened"
    )


def serve(context: "Context", args: Namespace) -> str | None:
    """Open a TCP address: until Ctrl-C in a terminal, until `--stop` in a notebook."""
    if args.stop and not context.cell:
        raise UsageError("--stop is for notebooks: Ctrl-C ends `hyperllama serve`.")
    from hyperllama_nb.commands.listener import Listener

    if args.stop:
        closed = Listener.close_all()
        return f"Closed {words.listing(closed)}." if closed else "Nothing was open."
    listener = Listener(context.client, args.host, args.port)
    told = f"Listening on http://{listener.address}"
    if not _local(args.host):
        told += (
            ". Others can reach this address, so it asks for a key: "
            f"`{context.prog} key create` makes one"
        )
    if context.cell:
        listener.keep()
        return f"{told}. `%llm serve --stop` closes it."
    context.note(f"{told}. Ctrl-C closes it.")
    try:
        for line in listener.lines():
            context.note(line)
    except KeyboardInterrupt:
        context.note("\nClosed.")
        return None
    finally:
        listener.close()
    raise ServiceError("The service ended, and with it the listener.")


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
