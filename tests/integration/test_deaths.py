"""Sudden deaths under a real service and MAX's real process tree: nothing is left, work goes on.

MAX_SERVE_DUMMY_MODEL replaces the model by an echo, so that an engine starts without a compile.
"""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from hyperllama_nb import Client
from hyperllama_nb.errors import ServiceError
from tests.integration.kernel import MODEL, Kernel, kernel
from tests.integration.processes import group_of, left_after, listening

PROMISE = 15.0
"""Seconds after a death in which every process and socket of the engine is gone."""


@pytest.fixture(scope="module")
def place(models: str) -> Iterator[Path]:
    """Give these tests a service of their own, whose engines echo."""
    with (
        tempfile.TemporaryDirectory(prefix="hd", dir="/tmp") as directory,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("HYPERLLAMA_RUNTIME_DIR", directory)
        patch.setenv("MAX_SERVE_DUMMY_MODEL", "1")
        patch.setenv("HYPERLLAMA_MAX_LAUNCH", "serve")
        yield Path(directory)


@pytest.fixture(scope="module")
def cells(place: Path) -> Iterator[Kernel]:
    with kernel() as started:
        yield started
    with suppress(ServiceError):
        Client(start=False).stop(wait=False)


def say_hello(cells: Kernel) -> None:
    cell = cells.run(f"%%llm {MODEL} --max-tokens 8\nHello")
    assert cell.status == "ok", cell.messages


def main_of(engine: list[psutil.Process]) -> list[psutil.Process]:
    return engine[:1]


def workers_of(engine: list[psutil.Process]) -> list[psutil.Process]:
    return engine[1:]


def everything(engine: list[psutil.Process]) -> list[psutil.Process]:
    return engine


@pytest.mark.parametrize("victims", [main_of, workers_of, everything])
def test_killed_engine_leaves_nothing(
    cells: Kernel,
    place: Path,
    victims: Callable[[list[psutil.Process]], list[psutil.Process]],
) -> None:
    say_hello(cells)
    [engine] = Client(start=False).status()["engines"]
    parts = group_of(engine["pid"])
    assert len(parts) >= 2
    for process in victims(parts):
        process.send_signal(signal.SIGKILL)
    left = left_after(parts, [Path(engine["socket"])], PROMISE)
    print("left:", left)
    assert left == []
    say_hello(cells)


def test_killed_service_leaves_nothing(cells: Kernel, place: Path) -> None:
    say_hello(cells)
    status = Client(start=False).status()
    [engine] = status["engines"]
    parts = group_of(status["pid"])
    os.kill(status["pid"], signal.SIGKILL)
    left = left_after(parts, [Path(engine["socket"])], PROMISE)
    print("left:", left)
    assert left == []
    say_hello(cells)
    assert Client(start=False).status()["pid"] != status["pid"]


def test_stop_ends_all(cells: Kernel, place: Path) -> None:
    say_hello(cells)
    status = Client(start=False).status()
    parts = group_of(status["pid"])
    assert cells.run("%llm stop").status == "ok"
    left = left_after(parts, [place / "service.sock"], PROMISE)
    print("left:", left)
    assert left == []


def test_killed_kernel_takes_its_own_engines_along(place: Path) -> None:
    with kernel() as cells:
        assert cells.run("%llm start --in-kernel").status == "ok"
        say_hello(cells)
        status = Client(start=False).status()
        assert status["host"] == "kernel"
        assert status["pid"] == cells.pid
        [engine] = status["engines"]
        parts = group_of(cells.pid)
        assert not listening(group_of(engine["pid"]))
        cells.kill()
        left = left_after(parts, [Path(engine["socket"])], PROMISE)
        print("left:", left)
        assert left == []
