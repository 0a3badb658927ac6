"""The engine's process: `python -m hyperllama_lean SOCKET --model DIR …`."""

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .base import Model
from .grammar import Grammars
from .metrics import Metrics
from .scheduler import QUEUE, Scheduler
from .server import Engine, Server
from .text import Vocabulary

Load = Callable[[argparse.Namespace], Model]


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argparse.ArgumentParser(prog="hyperllama_lean", description=__doc__, allow_abbrev=False)
    made.add_argument("socket", type=Path, help="the Unix socket to listen on")
    made.add_argument("--model", type=Path, required=True, help="the directory of its files")
    made.add_argument("--served-model-name", required=True, help="what requests call the model")
    made.add_argument("--context", type=int, default=4096, help="tokens of a prompt and its answer")
    made.add_argument("--slots", type=int, default=4, help="answers at once")
    made.add_argument("--max-queue", type=int, default=QUEUE, help="requests that may wait")
    return made


def say(message: str) -> None:
    """Write a line to the log."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str], load: Load) -> int:
    """Serve until a signal comes, and return the process's exit code.

    `load` makes the model; it runs in a thread, while the server answers that it is loading.
    """
    return asyncio.run(serve(parser().parse_args(arguments), load))


async def serve(options: argparse.Namespace, load: Load) -> int:
    """Serve until SIGTERM or SIGINT comes, where signals can be had, or the task is cancelled."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    with contextlib.suppress(ValueError, RuntimeError):  # only the main thread gets signals
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
    server = Server(options.served_model_name, Metrics())
    listener = await server.listen(options.socket)
    work = loop.create_task(_work(server, options, load))
    stop = loop.create_task(ended.wait())
    try:
        await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        return 0
    finally:
        listener.close()
        for task in (work, stop):
            task.cancel()
        await server.close()
        options.socket.unlink(missing_ok=True)


async def _work(server: Server, options: argparse.Namespace, load: Load) -> None:
    say("Loading the tokenizer")
    vocabulary = await asyncio.to_thread(Vocabulary, options.model)
    grammars = Grammars(vocabulary)
    say("Loading the weights")
    model, _ = await asyncio.gather(
        asyncio.to_thread(load, options), asyncio.to_thread(grammars.prepare)
    )
    scheduler = Scheduler(model, server.metrics, max_queue=options.max_queue)
    say(f"Ready on {options.socket}")
    await server.run(
        Engine(vocabulary, scheduler, grammars, vocab=model.vocab, context=model.context)
    )
