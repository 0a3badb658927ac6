"""Pull the default model, execute the quickstart notebook, and print what it answered."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import environment
import nbformat

import notebooks
from hyperllama_nb import Client, HyperLlamaError

MODEL = "smollm2:135m"
QUICKSTART = notebooks.NOTEBOOKS / "01_quickstart.ipynb"
LOG = notebooks.ROOT / "build" / "logs" / "pull.log"
COMMAND = Path(sys.executable).parent / "hyperllama"


def answers(notebook: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the text and the statistics of each `%%llm` output."""
    found: list[tuple[str, dict[str, Any]]] = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            numbers = output.get("metadata", {}).get("hyperllama")
            if numbers:
                data = output["data"]
                # The line under the answer follows an empty line.
                found.append((data["text/plain"].rpartition("\n\n")[0], numbers))
    return found


def runs() -> bool:
    """Say whether a service of this user runs."""
    try:
        Client(start=False).status()
    except HyperLlamaError:
        return False
    return True


def main() -> None:
    begin = time.monotonic()
    was_running = runs()
    try:
        pull = [str(COMMAND), "pull", MODEL]
        environment.patiently(f"hyperllama pull {MODEL}", pull, LOG)
        notebook = notebooks.tidy(notebooks.execute(QUICKSTART))
    finally:
        if not was_running:
            subprocess.run([COMMAND, "stop", "--now"], check=False, stdout=subprocess.DEVNULL)
    target = notebooks.BUILD / QUICKSTART.name
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)
    text, numbers = answers(notebook)[0]
    rows = {
        "Question": "What is the capital of France?",
        "Answer": text.strip(),
        "Speed": f"{numbers['timings']['tokens_per_second']:.1f} tokens/s",
        "Took": f"{time.monotonic() - begin:.0f} s",
        "Executed": str(target.relative_to(notebooks.ROOT)),
        "Open it": f".venv/bin/jupyter lab {QUICKSTART.relative_to(notebooks.ROOT)}",
    }
    notebooks.say("")
    for name, value in rows.items():
        notebooks.say(f"{name + ':':<10} {value}")


if __name__ == "__main__":
    main()
