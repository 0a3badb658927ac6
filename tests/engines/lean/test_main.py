"""The engine as a process: what it says while it starts, and how it ends."""

import asyncio
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import hyperllama_nb
from hyperllama_nb.engines.max.lean import main
from hyperllama_nb.engines.openai import Wire
from hyperllama_nb.errors import EngineDiedError, EngineError
from tests.engines.lean.conftest import PATIENCE
from tests.engines.lean.test_server import ASKED, ready

ROOT = Path(hyperllama_nb.__file__).parent.parent
PROGRAM = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from hyperllama_nb.engines.max.lean.main import main
from tests.engines.lean.fake import FakeModel
sys.exit(main(sys.argv[1:], lambda options: FakeModel(delay=0.01, slots=options.slots)))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_streams_in_words_and_the_process_well(
    own_place: Path, directory: Path, number: signal.Signals
) -> None:
    path = own_place / "e"
    argv = [str(path), "--model", str(directory), "--served-model-name", "fake", "--slots", "2"]
    command = [sys.executable, "-c", PROGRAM, *argv]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)  # noqa: ASYNC220  it returns at once
    try:
        wire = await ready(Wire(path))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

        async def watch() -> None:
            sent = False
            async for _ in wire.stream([1], ASKED):
                if not sent:
                    process.send_signal(number)
                    sent = True

        with pytest.raises((EngineError, EngineDiedError), match="ending"):
            await watch()
        said = (await asyncio.to_thread(process.communicate, timeout=PATIENCE))[1].decode()
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    phases = ["Loading the tokenizer", "Loading the weights", f"Ready on {path}"]
    assert [line for line in said.splitlines() if line in phases] == phases
    assert not path.exists()


def test_a_model_that_cannot_be_loaded_ends_the_engine(own_place: Path, directory: Path) -> None:
    def broken(_: object) -> object:
        raise OSError("no weights")

    argv = [str(own_place / "e"), "--model", str(directory), "--served-model-name", "fake"]
    caught: list[BaseException] = []

    def run() -> None:
        try:
            main.main(argv, broken)  # type: ignore[arg-type]
        except OSError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert str(caught[0]) == "no weights"
