"""Execute the notebooks for real, into build/notebooks or, with --write, in place.

usage: notebooks.py [--write] [NOTEBOOK...]
"""

import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from hyperllama_nb import Client, HyperLlamaError

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
BUILD = ROOT / "build" / "notebooks"
TICK = 4.0
"""Seconds between two lines while a cell runs."""
LEAST = 2.0
"""Seconds; a cell that is quicker is told once, when it has ended."""
CELL_TIMEOUT = 600
"""Seconds; the first answer of a model waits for its compilation."""
VIEW = "application/vnd.jupyter.widget-view+json"
"""The live form of a widget, which says nothing without the state that is not stored."""


def say(text: str) -> None:
    print(text, flush=True)


def phase() -> str:
    """Return what the engines are doing, if one is being loaded."""
    try:
        engines = Client(start=False).status()["engines"]
    except HyperLlamaError:
        return ""
    loading = [engine for engine in engines if engine["state"] == "loading"]
    return f"  (loading: {loading[0]['phase']}, {loading[0]['elapsed']:.0f} s)" if loading else ""


class Ticker:
    """Tell which cell runs, and every few seconds for how long."""

    def __init__(self) -> None:
        self._cell: tuple[int, str, float] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def begin(self, cell: Any, cell_index: int, **_: Any) -> None:
        """Take note of the cell that begins; nbclient calls this."""
        if cell.cell_type == "code":
            first = cell.source.strip().splitlines()[0][:60]
            self._cell = (cell_index, first, time.monotonic())

    def end(self, **_: Any) -> None:
        """Tell how long the cell took; nbclient calls this."""
        if self._cell is not None:
            _, first, begin = self._cell
            self._cell = None
            say(f"  {time.monotonic() - begin:5.1f} s  {first}")

    def _tick(self) -> None:
        while not self._stop.wait(TICK):
            cell = self._cell
            if cell is not None and time.monotonic() - cell[2] >= LEAST:
                say(f"  {time.monotonic() - cell[2]:5.1f} s  {cell[1]} …{phase()}")


def kernel_of(python: Path) -> type[AsyncKernelManager]:
    """Return a manager of kernels that run in the environment of this interpreter."""

    class Manager(AsyncKernelManager):
        def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
            return [str(python), *super().format_kernel_cmd(extra_arguments)[1:]]

    return Manager


def interpreter(notebook: nbformat.NotebookNode) -> Path:
    """Return the interpreter of the environment that the notebook's metadata name, or our own.

    Exits with the command that makes the environment if it is missing.
    """
    named = notebook.metadata.get("hyperllama", {}).get("environment")
    if named is None:
        return Path(sys.executable)
    python = ROOT / named / "bin" / "python"
    if not python.exists() or not any(python.parent.parent.glob("lib/*/site-packages/ipykernel")):
        raise SystemExit(
            f"It runs in a kernel of {named}, which is missing or incomplete. Make it with "
            "`scripts/clients.sh`, then run this again."
        )
    return python


def execute(path: Path) -> nbformat.NotebookNode:
    """Execute a notebook, in the environment that it names, and return it with its outputs.

    Exits with the cell's error if one fails.
    """
    notebook = nbformat.read(path, as_version=4)
    say(f"Executing {path.relative_to(ROOT)} …")
    python = interpreter(notebook)
    with Ticker() as ticker:
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT,
            kernel_name="python3",
            kernel_manager_class=kernel_of(python),
            record_timing=False,
            coalesce_streams=True,
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            store_widget_state=False,
            resources={"metadata": {"path": str(path.parent)}},
            on_cell_execute=ticker.begin,
            on_cell_executed=ticker.end,
        )
        try:
            client.execute()
        except CellExecutionError as error:
            raise SystemExit(f"{path.name} failed:\n{error}") from None
    return notebook


def tidy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop what differs between two machines and says nothing."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(VIEW, None)
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def main() -> None:
    arguments = [text for text in sys.argv[1:] if text != "--write"]
    write = "--write" in sys.argv
    chosen = [Path(text).resolve() for text in arguments] or sorted(NOTEBOOKS.glob("*.ipynb"))
    # The service has the MAX of this environment, whichever kernel asks it first.
    Client().status()
    for path in chosen:
        notebook = tidy(execute(path))
        target = path if write else BUILD / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, target)


if __name__ == "__main__":
    main()
