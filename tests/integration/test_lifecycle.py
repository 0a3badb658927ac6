"""One engine under its guard, on MAX's real process tree: private, and gone if the guard goes.

MAX_SERVE_DUMMY_MODEL replaces the model by an echo, so that nothing is compiled.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hyperllama_nb.engines.base import LaunchSpec
from hyperllama_nb.engines.group import members
from hyperllama_nb.engines.max import MaxBackend
from hyperllama_nb.engines.openai import Wire
from hyperllama_nb.engines.process import EngineProcess
from hyperllama_nb.hardware import detect
from hyperllama_nb.models.store import Store
from tests.integration.kernel import MODEL
from tests.integration.processes import left_after, listening

PROMISE = 15.0
READY = 300.0


@pytest.fixture
def place(models: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MAX_SERVE_DUMMY_MODEL", "1")
    monkeypatch.setenv("HYPERLLAMA_MAX_LAUNCH", "serve")
    path = Path(tempfile.mkdtemp(prefix="hl", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def engine(place: Path) -> AsyncIterator[tuple[EngineProcess, Wire]]:
    """Run an engine of the default model in a short, private directory."""
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
        yield process, await process.wait_ready(MODEL, READY)
    finally:
        await process.stop()


def test_an_engine_is_private_and_does_not_outlive_its_guard(place: Path) -> None:
    async def work() -> None:
        async with engine(place) as (process, wire):
            assert process.pid is not None
            parts = list(members(process.pid))
            assert listening(parts) == []
            assert not process.tcp
            assert process.socket.stat().st_mode & 0o777 == 0o600
            assert process.workdir.stat().st_mode & 0o777 == 0o700
            assert "maxserve_request_count_total" in await wire.metrics()
            assert process._guard is not None
            started = time.monotonic()
            process._guard.kill()
            sockets = [process.socket, process.workdir]
            left = await asyncio.to_thread(left_after, parts, sockets, PROMISE)
            print(f"left after {time.monotonic() - started:.1f} s:", left)
            assert left == []

    asyncio.run(work())
