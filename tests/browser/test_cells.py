"""Cells in a real JupyterLab: answers that grow, the stop button, the keyboard, the dark theme."""

import json
import os
import struct
import time
from itertools import pairwise

from playwright.sync_api import expect

from hyperllama_nb.testing import Script, tiny_model
from tests.browser.looks import contrast
from tests.browser.screen import DARK, LIGHT
from tests.integration.kernel import MODEL
from tests.service.hosting import SLOW

STORY = f"%%llm {MODEL} --temperature 0 --max-tokens 40\nTell a story about a river."
ENDLESS = f"%%llm {MODEL} --temperature 0 --max-tokens 3000\nTell a very long story about a river."

RICH = Script(
    pieces=["A **river** ", "runs; see `delta`", ".\n\n```python\n", "width = 3", "\n```\n"],
    delay=0.1,
)


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
    # The cell that waited is given back a moment later.
    expect(book.prompt(1)).to_have_text("[ ]:")
    book.evaluate("assert 'reached' not in globals()")
    first, second, _ = book.save().cells
    kept = first.outputs[0]
    assert len(kept["data"]["text/markdown"]) > 100
    assert kept["metadata"]["hyperllama"]["finish_reason"] == "interrupted"
    assert second.execution_count is None
    book.run(2)
    assert "tokens/s" in book.output(2).inner_text()


def swell(path, size):
    """Add a tensor of so many bytes to a file of safetensors, a hole in the file."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    head, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    place = [len(body), len(body) + size]
    head["model.extra.weight"] = {"dtype": "F32", "shape": [size // 4], "data_offsets": place}
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    os.truncate(path, path.stat().st_size + size)


def test_a_pull_shows_how_far_it_is(scripted, tmp_path):
    swell(tiny_model(tmp_path / "river") / "model.safetensors", 1 << 29)
    book, service = scripted([Script()], f"%llm pull file:{tmp_path}/river")
    book.record(0)
    book.run(0)
    shown = {text for _, _, text in book.recorded() if " MB (" in text and " %)" in text}
    assert len(shown) >= 3, book.recorded()
    assert "Done, " in book.output(0).inner_text()
    assert len(service.client.get("/api/tags").json()["models"]) == 2


def test_an_answer_reads_in_both_themes(scripted, screen):
    book, _ = scripted([RICH], "%%llm\nTell of a river.", "%%llm unknown\nHi")
    book.run(0)
    book.run(1)
    answer = book.output(0).locator(".jp-RenderedMarkdown")
    for theme in (LIGHT, DARK):
        screen.theme(theme)
        for part in ("p", "strong", "p code", "pre", "pre span", "small"):
            assert contrast(answer.locator(part).first) >= 4.5, (theme, part)
        assert contrast(book.output(1).locator("pre").first) >= 4.5, theme


def test_all_by_keyboard(scripted):
    book, service = scripted([SLOW], "%%llm\nTell of a river.", "reached = True")
    keys = book.page.keyboard
    keys.press("Escape")
    keys.press("Shift+Enter")
    keys.press("Shift+Enter")
    book.until(lambda: book.output(0).inner_text().count("x") > 10)
    keys.press("Escape")
    keys.press("i")
    keys.press("i")
    book.ended(0)
    assert "Interrupted." in book.output(0).inner_text()
    # The cell that waited is given back a moment later.
    expect(book.prompt(1)).to_have_text("[ ]:")
    book.evaluate("assert 'reached' not in globals()")
    book.until(lambda: not service.told("running"), 10)


def test_what_is_saved_is_small_and_has_no_widget(scripted):
    long = Script(pieces=["word "], repeat=300, delay=0.005)
    book, _ = scripted([long], "%%llm --plot\nTell of a river.")
    book.run(0)
    saved = book.save()
    assert "widgets" not in saved.metadata
    text, figure = (output["data"] for output in saved.cells[0].outputs)
    assert text["text/markdown"].startswith("word word")
    assert {"text/plain", "image/svg+xml"} <= figure.keys()
    assert "application/vnd.jupyter.widget-view+json" not in json.dumps(saved)
    assert book.path.stat().st_size < 100_000
