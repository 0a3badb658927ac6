"""The running cell, and threads that belong to it."""

import contextvars

import pytest
from IPython.core.interactiveshell import InteractiveShell

from hyperllama_nb.display import cells


class Shell:
    """A kernel's shell: it knows the message that runs the cell."""

    def __init__(self, message):
        self.message = message

    def get_parent(self):
        return self.message


@pytest.fixture
def told(monkeypatch):
    """Return what sets the message that the shell knows."""

    def tell(message):
        monkeypatch.setattr("IPython.get_ipython", lambda: Shell(message))

    return tell


def test_a_cell_and_its_run_are_told(told):
    told({"header": {"msg_id": "r1"}, "metadata": {"cellId": "c1"}})
    assert (cells.cell_id(), cells.run_id()) == ("c1", "r1")


@pytest.mark.parametrize(
    "message", [{}, None, {"metadata": {}}, {"metadata": None, "header": None}]
)
def test_a_front_end_that_tells_nothing_has_neither(told, message):
    told(message)
    assert (cells.cell_id(), cells.run_id()) == (None, "")


@pytest.mark.parametrize("shell", [None, InteractiveShell])
def test_neither_has_a_terminal(monkeypatch, shell):
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    assert (cells.cell_id(), cells.run_id()) == (None, "")


def test_a_thread_has_the_context_of_whoever_made_it():
    cell = contextvars.ContextVar("cell", default="none")
    cell.set("first")
    seen = []
    thread = cells.thread_here(lambda more: seen.append((cell.get(), more)), 1, name="test")
    cell.set("second")
    assert thread.daemon
    assert thread.name == "hyperllama-test"
    thread.start()
    thread.join(60)
    assert seen == [("first", 1)]
