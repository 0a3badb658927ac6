"""Fixtures of the lean engine's tests: a tokenizer, and whole servers with a fake model."""

import asyncio
import contextlib
import inspect
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hyperllama_nb.engines.max.lean import main
from hyperllama_nb.engines.max.lean.text import Vocabulary
from tests.engines.lean.fake import FakeModel, write_tokenizer

PATIENCE = 20.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine in a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("model"), ("name", "true", "the", "llama"))


@pytest.fixture(scope="session")
def vocabulary(directory: Path) -> Vocabulary:
    return Vocabulary(directory)


@contextlib.contextmanager
def serving(model: FakeModel, directory: Path, *options: str) -> Iterator[Path]:
    """Run the engine with a model in a thread; yields its socket."""
    with tempfile.TemporaryDirectory(prefix="hl") as place:
        path = Path(place) / "e"
        argv = [str(path), "--model", str(directory), "--served-model-name", "fake", *options]
        loop = asyncio.new_event_loop()
        task: asyncio.Task[int] | None = None
        begun = threading.Event()

        async def run() -> None:
            nonlocal task
            task = asyncio.current_task()
            begun.set()
            await main.serve(main.parser().parse_args(argv), lambda _: model)

        def thread() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(run())
            loop.close()

        worker = threading.Thread(target=thread)
        worker.start()
        try:
            assert begun.wait(PATIENCE)
            yield path
        finally:
            assert task is not None
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)
            worker.join(PATIENCE)
            assert not worker.is_alive()


@pytest.fixture
def serve(directory: Path) -> Iterator[Callable[..., Path]]:
    """Start an engine with a model and options; it ends with the test."""
    with contextlib.ExitStack() as stack:

        def start(model: FakeModel, *options: str) -> Path:
            return stack.enter_context(serving(model, directory, *options))

        yield start
