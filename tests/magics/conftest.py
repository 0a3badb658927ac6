"""The fake service, for what shows its answers, and a shell without a front end."""

import atexit
from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from hyperllama_nb.magics import HyperLlamaMagics
from tests.client.conftest import client, service

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
    shell.atexit_operations()
    InteractiveShell.clear_instance()


@pytest.fixture
def magics(bare_shell: InteractiveShell) -> HyperLlamaMagics:
    """Return the magics of the shell."""
    return bare_shell.magics_manager.registry["HyperLlamaMagics"]
