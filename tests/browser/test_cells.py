"""Cells in a real JupyterLab: answers that grow, the stop button, the keyboard, the dark theme."""

import time
from itertools import pairwise

from tests.browser.conftest import MODEL

STORY = f"%%llm {MODEL} --temperature 0 --max-tokens 60\nTell a story about a river."
ENDLESS = f"%%llm {MODEL} --temperature 0 --max-tokens 3000\nTell a very long story about a river."


def running(client):
    """Return how many requests hold a slot of the engine."""
    [engine] = [found for found in client.status()["engines"] if found["model"] == MODEL]
    return engine["running"]


def test_an_answer_grows_in_its_cell(notebook):
    book = notebook(STORY)
    book.record(0)
    book.run(0)
    lengths = [length for _, length, text in book.recorded() if "tokens/s" not in text]
    grown = sum(after > before for before, after in pairwise(lengths))
    assert grown >= 3, book.recorded()
    answer = book.output(0).locator(".jp-RenderedMarkdown")
    assert answer.locator("p").count() >= 1
    assert "tokens/s" in answer.locator("small").inner_text()


def test_the_stop_button_keeps_the_text_and_holds_the_next_cell(notebook, client):
    book = notebook(ENDLESS, "reached = True", f"%%llm {MODEL} --max-tokens 3\nHi")
    book.run_all()
    book.until(lambda: len(book.output(0).inner_text()) > 100)
    pressed = time.monotonic()
    book.press_stop()
    book.until(lambda: not running(client), 10)
    free = time.monotonic() - pressed
    book.ended(0, 10)
    ended = time.monotonic() - pressed
    print(f"after the button: engine free in {free:.2f} s, cell ended in {ended:.2f} s")
    shown = book.output(0).inner_text()
    assert "Interrupted." in shown
    assert "GenerationInterrupted: Interrupted; the text that had arrived is kept." in shown
    assert book.prompt(1).inner_text() == "[ ]:"
    first, second, _ = book.save().cells
    kept = first.outputs[0]
    assert len(kept["data"]["text/markdown"]) > 100
    assert kept["metadata"]["hyperllama"]["finish_reason"] == "interrupted"
    assert second.execution_count is None
    book.run(2, 10)
    assert "tokens/s" in book.output(2).inner_text()
