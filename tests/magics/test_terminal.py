"""`%%llm` in IPython in a terminal, through a pseudo-terminal."""

import os
import re
import signal
import sys
import time

import pexpect
import pytest

from hyperllama_nb.models.store import Store
from tests.client.fakeservice import words
from tests.models.manifests import install

pytestmark = pytest.mark.slow

PATIENCE = 60
"""Seconds; each wait takes a fraction of one."""

GENERATE = "POST /api/generate"

_ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[=>])")


class Terminal:
    """IPython at work; what it writes is read without its colours and cursor movements."""

    def __init__(self):
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "IPython", "--no-banner", "--no-confirm-exit", "--colors=NoColor",
             "--TerminalInteractiveShell.autosuggestions_provider=None",
             "--Completer.use_jedi=False", "--HyperLlamaMagics.prewarm=None"],
            env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "PAGER": "cat"},
            dimensions=(50, 160),
            encoding="utf-8",
            timeout=60,
        )  # fmt: skip
        self.seen = ""
        self.until(r"In \[1\]:")
        self.enter("%load_ext hyperllama_nb", 2)

    def type(self, text):
        self.child.send(text)

    def until(self, pattern):
        """Wait until what is written matches; return all of it since the last wait."""
        found, deadline = "", time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                found += self.child.read_nonblocking(4096, timeout=1)
            except pexpect.TIMEOUT:
                continue
            self.seen = _ANSI.sub("", found)
            if re.search(pattern, self.seen, re.DOTALL):
                return self.seen
        raise AssertionError(f"no {pattern!r} in {self.seen!r}")

    def enter(self, line, number):
        """Run a line; wait for the prompt of that number."""
        self.type(line + "\r")
        return self.until(rf"In \[{number}\]:")

    def cell(self, line, text):
        """Run a cell of two lines: in a terminal two empty lines end it."""
        self.type(f"{line}\r")
        self.until(r"\.\.\.:")
        for typed in (text, ""):
            self.type(f"{typed}\r")
            self.until(r"\.\.\.:")
        self.type("\r")


@pytest.fixture
def terminal(service):
    found = Terminal()
    yield found
    # `close(force=True)` gives the process 0.1 s to be gone, which a busy machine may not keep.
    found.child.kill(signal.SIGKILL)
    found.child.wait()
    found.child.close()


def test_an_answer_streams_as_text(service, terminal):
    def answer(body):
        yield {"status": "loading", "model": "m", "phase": "compile", "elapsed": 3.0}
        for line in words("One ", "two ", "three.", eval_count=3):
            yield line
            time.sleep(0.3)

    service.routes[GENERATE] = answer
    terminal.cell("%%llm m --temperature 0", "What?")
    seen = terminal.until("One ")
    assert "three." not in seen
    seen = terminal.until(r"In \[3\]:")
    assert "two three." in seen
    assert "3 tokens" in seen
    assert service.bodies(GENERATE)[0]["options"] == {"temperature": 0}
    assert "'One two three.'" in terminal.enter("_llm.text", 4)


def test_an_interrupt_keeps_the_text_and_gives_the_prompt_back(service, terminal):
    def forever(body):
        while True:
            yield from words("more ")[:1]
            time.sleep(0.05)

    service.routes[GENERATE] = forever
    terminal.cell("%%llm m", "What?")
    terminal.until("more more ")
    terminal.type("\x03")
    seen = terminal.until(r"In \[3\]:")
    assert seen.count("GenerationInterrupted: Interrupted") == 1
    assert "Traceback" not in seen
    assert service.gone.wait(10)
    assert "True False" in terminal.enter("print(_llm.text[:9] == 'more more', _llm.done)", 4)


def test_tab_completes_commands_and_models(service, terminal):
    install(Store(), "tiny:1b", model=b"x")
    terminal.type("%llm his\t")
    terminal.until("history")
    assert "There is no conversation yet" in terminal.enter("", 3)
    terminal.type("%%llm --model=tin\t")
    terminal.until("--model=tiny:1b")


def test_code_comes_as_the_next_input(service, terminal):
    service.routes[GENERATE] = lambda body: words("```python\nx = 41 + 1\n```")
    terminal.cell("%%llm m -f code", "Add.")
    seen = terminal.until(r"In \[3\]: *x = 41 \+ 1")
    assert "1 line of code in the next cell" in seen
    terminal.enter("", 4)
    assert "42" in terminal.enter("x", 5)


def test_a_fix_comes_as_the_next_input(service, terminal):
    service.routes[GENERATE] = lambda body: words("```python\ny = 7\n```")
    assert "ZeroDivisionError" in terminal.enter("y = 1 / 0", 3)
    terminal.type("%llm fix\r")
    terminal.until(r"In \[4\]: *y = 7")
    assert "y = 1 / 0" in service.bodies(GENERATE)[0]["prompt"]


def test_help_and_errors_are_text(terminal):
    assert "usage: %%llm" in terminal.enter("%llm?", 3)
    assert "usage: %llm pull" in terminal.enter("%llm pull --help", 4)
    seen = terminal.enter("%llm histry", 5)
    assert "UsageError" in seen
    assert "Did you mean `history`?" in seen
    assert "Traceback" not in seen
