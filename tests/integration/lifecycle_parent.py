"""A stand-in for the service: holds one engine, says who belongs to it, and waits to be killed.

`python lifecycle_parent.py PLACE`, with the environment of an integration test.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hyperllama_nb.engines.base import LaunchSpec
from hyperllama_nb.engines.group import members
from hyperllama_nb.engines.max import MaxBackend
from hyperllama_nb.engines.process import EngineProcess
from hyperllama_nb.hardware import detect
from hyperllama_nb.models.store import Store

MODEL = "smollm2:135m"
READY = 300.0


@asynccontextmanager
async def engine(place: Path) -> AsyncIterator[EngineProcess]:
    """Run an engine of the default model; `place` is a short, private directory."""
    backend, store = MaxBackend(), Store()
    manifest = store.get(MODEL)
    spec = LaunchSpec(
        manifest=manifest,
        directory=store.view(manifest),
        placement=backend.place(manifest, detect()),
        context=2048,
        batch=1,
        max_queue=8,
        socket=place / "e" / "s",
        workdir=place / "e",
        cache=place / "cache",
    )
    process = EngineProcess(spec.socket, spec.workdir, place / "log")
    try:
        await process.start(backend.command(spec), backend, print)
        process.wire = await process.wait_ready(manifest.name.display, READY)
        yield process
    finally:
        await process.stop()


async def main() -> None:
    async with engine(Path(sys.argv[1])) as process:
        print(json.dumps([member.pid for member in members(process.pid)]), flush=True)
        await asyncio.sleep(READY)


if __name__ == "__main__":
    asyncio.run(main())
