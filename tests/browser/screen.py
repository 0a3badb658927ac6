"""A page of the browser with JupyterLab in it, and the notebooks that it shows."""

import io
import itertools
import json
import os
import re
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser.lab import PATIENCE, Lab

LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
IMAGES = ROOT / "docs" / "images"
"""Where screenshots go as well when `HYPERLLAMA_TEST_WRITE_IMAGES` is set."""

COLOURS = 256
"""Of a screenshot's palette: a third of the bytes, and no difference that one sees."""

RECORD = """(output) => {
  const seen = []
  window.recorded = seen
  const look = () => seen.push([performance.now(), output.innerText.length, output.innerText])
  new MutationObserver(look).observe(output, {subtree: true, childList: true, characterData: true})
}"""


OPEN = """async (path) => {
  const panel = await jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'})
  await panel.sessionContext.ready
  await panel.sessionContext.session.kernel.info
  return panel.id
}"""


class Screen:
    """One browser page; it opens notebooks of the server that it shows."""

    def __init__(self, page: Page, lab: Lab):
        self.page, self.lab = page, lab
        self._numbers = itertools.count()
        self._theme = LIGHT
        page.goto(lab.url, timeout=PATIENCE * 1000)
        page.wait_for_function("window.jupyterapp?.restored", timeout=PATIENCE * 1000)
        page.evaluate("() => jupyterapp.restored.then(() => null)")
        # The file browser is not what is looked at.
        self.command("application:toggle-left-area")

    def command(self, name, **arguments):
        """Run a command of JupyterLab, as its menus do."""
        call = "([name, args]) => jupyterapp.commands.execute(name, args).then(() => null)"
        self.page.evaluate(call, [name, arguments])

    def theme(self, name):
        """Switch the theme, as the menu `Settings` does."""
        if name != self._theme:
            self.command("apputils:change-theme", theme=name)
            light = str(name == LIGHT).lower()
            self.page.wait_for_selector(f"body[data-jp-theme-light={light}]", state="attached")
            self._theme = name

    def open(self, *cells, setup=""):
        """Save a notebook with these cells on the server, and open it.

        Cells that begin with `#` and a space are markdown. `setup` runs first, in no cell.
        """
        name = f"test{next(self._numbers)}.ipynb"
        made = [
            new_markdown_cell(text) if text.startswith("# ") else new_code_cell(text)
            for text in cells
        ]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
        nbformat.write(new_notebook(cells=made, metadata=kernel), self.lab.root / name)
        panel = self.page.locator(f"[id='{self.page.evaluate(OPEN, name)}']")
        notebook = Notebook(self, panel, self.lab.root / name)
        notebook.idle()
        if setup:
            notebook.evaluate(setup)
        return notebook

    @contextmanager
    def reopened(self, saved):
        """Open what `Notebook.save` returned as another file, which has a kernel of its own."""
        path = self.lab.root / f"test{next(self._numbers)}.ipynb"
        nbformat.write(saved, path)
        panel = self.page.locator(f"[id='{self.page.evaluate(OPEN, path.name)}']")
        notebook = Notebook(self, panel, path)
        try:
            notebook.idle()
            yield notebook
        finally:
            notebook.close()


@dataclass
class Notebook:
    """An open notebook; cells are counted from 0."""

    screen: Screen
    panel: Locator
    path: Path

    @property
    def page(self):
        return self.screen.page

    def show(self):
        """Bring the notebook to the front."""
        self.page.evaluate(OPEN, self.path.name)

    def idle(self):
        """Wait until the kernel rests."""
        expect(self.panel.locator(".jp-Notebook-ExecutionIndicator")).to_have_attribute(
            "data-status", "idle", timeout=PATIENCE * 1000
        )

    def cell(self, index):
        return self.panel.locator(".jp-Notebook-cell").nth(index)

    def output(self, index):
        return self.cell(index).locator(".jp-Cell-outputArea")

    def prompt(self, index):
        """Return what stands before a cell: `[ ]:`, `[*]:` or `[3]:`."""
        return self.cell(index).locator(".jp-InputPrompt").first

    def select(self, index):
        """Select a cell in command mode, with the mouse."""
        self.prompt(index).click()

    def start(self, index):
        """Run a cell by keyboard and do not wait for it."""
        self.select(index)
        self.page.keyboard.press("Control+Enter")

    def run(self, index, seconds=PATIENCE):
        """Run a cell by keyboard, and wait until it has ended."""
        self.start(index)
        self.ended(index, seconds)

    def run_all(self):
        """Run all cells, as the menu `Run` does, and do not wait for them."""
        self.page.evaluate("() => void jupyterapp.commands.execute('notebook:run-all-cells')")

    def ended(self, index, seconds=PATIENCE):
        """Wait until a cell has a number."""
        number = re.compile(r"\[\d+\]")
        expect(self.prompt(index)).to_have_text(number, timeout=seconds * 1000)

    def evaluate(self, code):
        """Run code in the kernel without a cell; fails if it raises."""
        reply = self.page.evaluate(
            """(code) => jupyterapp.shell.currentWidget.sessionContext.session.kernel
              .requestExecute({code, store_history: false, silent: true}).done
              .then((reply) => reply.content)""",
            code,
        )
        assert reply["status"] == "ok", reply

    def value(self, code):
        """Return the value of an expression in the kernel, a number or a truth."""
        self.show()
        text = self.page.evaluate(
            """(code) => jupyterapp.shell.currentWidget.sessionContext.session.kernel
              .requestExecute({
                code: '', store_history: false, silent: true, user_expressions: {value: code},
              }).done.then((reply) => reply.content.user_expressions.value)""",
            code,
        )
        assert text["status"] == "ok", text
        return json.loads(text["data"]["text/plain"].lower())

    def record(self, index):
        """Begin to record each change of a cell's output; `recorded` returns the record.

        A cell has no output area to watch before its first output.
        """
        self.cell(index).evaluate(RECORD)

    def recorded(self):
        """Return the times in seconds, the lengths and the texts."""
        found = self.page.evaluate("window.recorded")
        return [(at / 1000, length, text) for at, length, text in found]

    def save(self):
        """Save, and return the file's content."""
        self.screen.command("docmanager:save")
        return nbformat.read(self.path, as_version=4)

    def press_stop(self):
        """Press the toolbar's button that interrupts the kernel."""
        self.panel.locator('[data-command="notebook:interrupt-kernel"]').click()

    def close(self):
        """End the kernel and close the notebook."""
        self.show()
        self.page.evaluate(
            """() => {
              const panel = jupyterapp.shell.currentWidget
              panel.context.model.dirty = false
              return panel.sessionContext.shutdown().then(() => panel.dispose())
            }"""
        )

    def until(self, condition, seconds=PATIENCE):
        """Wait for a condition, and return its value."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not within {seconds} s\n{self.panel.inner_text()}"
            self.page.wait_for_timeout(100)
        return value


def shoot(target, name):
    """Take a screenshot of a page or a part of it, in `build/screenshots` and maybe the docs."""
    data = target.screenshot(animations="disabled", caret="hide")
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    # the widest cover keeps a colour of few pixels, such as one thin line; k-means the greys
    few = picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, 3, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    if os.environ.get("HYPERLLAMA_TEST_WRITE_IMAGES"):
        IMAGES.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, IMAGES / path.name)
