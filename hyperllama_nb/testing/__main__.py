"""Run a FakeEngine as a process: `python -m hyperllama_nb.testing --socket PATH`."""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from hyperllama_nb.testing.engine import FakeEngine
from hyperllama_nb.testing.script import Script


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
    if script.crash is not None:
        await asyncio.sleep(script.startup)
        return script.crash
    async with engine:
        waits = [asyncio.ensure_future(event.wait()) for event in (ended, engine.died)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if engine.died.is_set():
            os._exit(1)  # no farewell on any connection, as when a worker is killed
    return 128 + signal.SIGTERM


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
