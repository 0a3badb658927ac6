"""The fake service, for what shows its answers, and a shell without a front end."""

import atexit
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from hyperllama_nb.magics import HyperLlamaMagics
from tests.client.conftest import client, service
from tests.client.fakeservice import FakeService

__all__ = ["client", "service"]


@pytest.fixture(autouse=True)
def no_conversations() -> Iterator[None]:
    """Forget the conversations, which belong to the process."""
    yield
    HyperLlamaMagics.conversations.reset()
    HyperLlamaMagics.conversations.begin()


@pytest.fixture
def bare_shell() -> Iterator[InteractiveShell]:
    """Return a shell with the extension, and without any service."""
    InteractiveShell.clear_instance()
    config = Config()
    config.HistoryManager.enabled = False
    config.HyperLlamaMagics.prewarm = None
    shell = InteractiveShell.instance(config=config)
    shell.run_line_magic("load_ext", "hyperllama_nb")
    yield shell
    atexit.unregister(shell.atexit_operations)
    # It ends with a collection of garbage, which takes longer than a test in so large a process.
    with mock.patch("gc.collect"):
        shell.atexit_operations()
    InteractiveShell.clear_instance()


@pytest.fixture
def magics(bare_shell: InteractiveShell) -> HyperLlamaMagics:
    """Return the magics of the shell."""
    return bare_shell.magics_manager.registry["HyperLlamaMagics"]


@pytest.fixture
def shell(service: FakeService, bare_shell: InteractiveShell) -> InteractiveShell:
    """Return a shell with the extension, in front of the fake service."""
    return bare_shell


@pytest.fixture
def ask(shell: InteractiveShell) -> Callable[..., Any]:
    """Return what runs a `%%llm` cell and returns `_llm`."""

    def run(line: str, cell: str = "Hello\n") -> Any:
        shell.run_cell_magic("llm", line, cell)
        return shell.user_ns["_llm"]

    return run


class Page:
    """What a notebook would show: the last state of each output, with its metadata."""

    def __init__(self) -> None:
        self.outputs: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self.live: list[dict[str, Any]] = []
        self.cell: str | None = "cell-1"

    def publish(
        self, bundle: dict[str, Any], metadata: dict[str, Any], id_: str, update: bool
    ) -> None:
        assert update == (id_ in self.outputs)
        self.outputs[id_] = bundle, metadata
        self.live.append(bundle)

    def get_parent(self) -> dict[str, Any]:
        return {"metadata": {"cellId": self.cell} if self.cell else {}}

    @property
    def bundles(self) -> list[dict[str, Any]]:
        return [bundle for bundle, _ in self.outputs.values()]

    @property
    def saved(self) -> dict[str, Any]:
        """The metadata of the first output."""
        return next(metadata for _, metadata in self.outputs.values())["hyperllama"]


@pytest.fixture
def page(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> Page:
    """Let the shell believe that a notebook shows its outputs."""
    found = Page()
    shell.kernel, shell.get_parent = found, found.get_parent
    monkeypatch.setattr("hyperllama_nb.display.sinks.in_kernel", lambda: True)
    monkeypatch.setattr("hyperllama_nb.display.sinks.display_bundle", found.publish)
    return found
