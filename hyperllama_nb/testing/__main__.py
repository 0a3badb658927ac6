"""Run a FakeEngine as a process: `python -m hyperllama_nb.testing --socket PATH`."""

import argparse
import asyncio
import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hyperllama_nb.testing.engine import FakeEngine
from hyperllama_nb.testing.script import Script

TERMINATED = 128 + signal.SIGTERM


async def serve(engine: FakeEngine) -> int:
    """Follow the script until SIGTERM (143, as MAX) or its death (1); return the exit status."""
    script = engine.script
    ended = asyncio.Event()
    if script.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    for line in script.log:
        print(line, file=sys.stderr, flush=True)  # noqa: T201
    if await happens(ended, script.startup):
        return TERMINATED
    if script.crash is not None:
        return script.crash
    engine.script = replace(script, startup=0)
    async with engine:
        waits = [asyncio.ensure_future(event.wait()) for event in (ended, engine.died)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if engine.died.is_set():
            os._exit(1)  # no farewell on any connection, as when a worker is killed
    return TERMINATED


async def happens(event: asyncio.Event, within: float) -> bool:
    """Tell whether the event happens within so many seconds."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), within)
    return event.is_set()


def main() -> int:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m hyperllama_nb.testing")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--script", type=Script.from_json, default=Script())
    parser.add_argument("--model", default="tiny")
    args = parser.parse_args()
    return asyncio.run(serve(FakeEngine(args.script, args.socket, args.model)))


if __name__ == "__main__":
    sys.exit(main())
