"""The pictures of the documentation: what a cell and each widget look like on a real engine.

They are in `build/screenshots`; `HYPERLLAMA_TEST_WRITE_IMAGES=1` puts them into `docs/images`, too.
"""

from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from PIL import Image, ImageChops, ImageStat
from playwright.sync_api import Locator, expect

from tests.browser.screen import DARK, IMAGES, LIGHT, SCREENSHOTS, shoot
from tests.integration.kernel import MODEL

QUESTION = "Write a short Python function that reverses a text."
"""What the smallest model answers well, and in a few words."""

BENCHMARK = f"""from hyperllama_nb.bench.throughput import Objectives
from hyperllama_nb.widgets import Benchmark
b = Benchmark({MODEL!r}, ["max", "llamacpp"], objectives=Objectives(ttft=0.3, tpot=0.045),
              requests=8, input_tokens=64, output_tokens=24, blocks=3)
b"""

MINUTES = 300_000
"""Milliseconds for what takes one minute."""

PICTURES = (
    *("benchmark", "benchmark-form", "benchmark-kept", "benchmark-more", "benchmark-report"),
    *("cell", "chat", "models", "monitor", "monitor-kept"),
)

TALK = (
    ("user", "What is the capital of France?"),
    ("assistant", "The capital of France is **Paris**."),
)


def both(book, target, name):
    """Take a picture in the light and in the dark theme."""
    for theme, suffix in ((LIGHT, "light"), (DARK, "dark")):
        book.screen.theme(theme)
        # Charts follow the theme when they are next drawn.
        book.page.wait_for_timeout(300)
        shoot(target, f"{name}-{suffix}")
    book.screen.theme(LIGHT)


@dataclass
class Between:
    """The part of a page from one element to another below it."""

    first: Locator
    last: Locator

    def screenshot(self, **options):
        top, bottom = self.first.bounding_box(), self.last.bounding_box()
        height = bottom["y"] + bottom["height"] - top["y"]
        return self.first.page.screenshot(clip={**top, "height": height}, **options)


@contextmanager
def tall(book, height=1200):
    """Give the block a page on which a whole widget has room."""
    size = book.page.viewport_size
    book.page.set_viewport_size({**size, "height": height})
    yield
    book.page.set_viewport_size(size)


def test_a_cell(notebook):
    book = notebook(f"%%llm {MODEL} --temperature 0\n{QUESTION}", "# ", "# ")
    book.run(0)
    expect(book.output(0).locator("small")).to_contain_text("tokens/s")
    # What is selected is not what is looked at.
    book.select(2)
    both(book, book.cell(0), "cell")


def test_the_chat(notebook):
    book = notebook(f"%llm chat {MODEL} -O chat")
    book.run(0)
    chat = book.output(0).locator(".hl-chat")
    said = [{"role": role, "content": text} for role, text in TALK]
    book.evaluate(
        f"chat.messages = {said!r}; chat.options = {{'temperature': 0, 'num_predict': 100}}"
    )
    field = chat.get_by_role("textbox", name="Message")
    field.fill(QUESTION)
    field.press("Enter")
    expect(chat.locator(".hl-line")).to_contain_text("tokens/s")
    with tall(book):
        both(book, chat, "chat")


def test_the_monitor(notebook):
    other = notebook(f"%%llm {MODEL} --max-tokens 400\nTell a very long story about a river.")
    book = notebook("%llm monitor -O monitor")
    book.run(0)
    other.show()
    other.start(0)
    other.until(lambda: len(other.output(0).inner_text()) > 50)
    book.show()
    book.until(lambda: book.value("sum(bool(row['decode']) for row in monitor.samples)") >= 8)
    with tall(book):
        both(book, book.output(0).locator(".jp-OutputArea-output").first, "monitor")
        book.evaluate("monitor.stop()")
        expect(book.output(0).locator(".hl-monitor")).to_have_count(0)
        both(book, book.output(0).locator(".jp-OutputArea-output").first, "monitor-kept")
    other.show()
    other.press_stop()
    other.ended(0)


def test_the_benchmark(notebook, tmp_path):
    book = notebook(BENCHMARK)
    book.run(0)
    widget = book.output(0).locator(".hl-benchmark")
    line = widget.locator(".hl-line")
    both(book, widget, "benchmark-form")
    widget.get_by_role("button", name="Start").click()
    expect(line).to_contain_text("Done.", timeout=MINUTES)
    report = tmp_path / "run"
    book.evaluate(f"b.write({str(report)!r})")
    # What goes on has a verdict and a bar that is not full.
    widget.get_by_role("button", name="+3 blocks").click()
    expect(line).to_contain_text("at a time", timeout=MINUTES)
    names = ("Distribution", "Against the load", "Load times")
    ecdf, load, loads = (widget.get_by_label(name, exact=True) for name in names)
    with tall(book, 5000):
        both(book, Between(widget.locator(".hl-controls"), ecdf), "benchmark")
        both(book, Between(load, loads), "benchmark-more")
        widget.get_by_role("button", name="Stop").click()
        expect(line).to_contain_text("Stopped.", timeout=MINUTES)
        book.evaluate("b.finish()")
        expect(widget).to_have_count(0)
        kept = book.output(0).locator(".hl-fragments").last
        pictures = kept.get_by_role("img")
        both(book, Between(kept.locator("p").first, pictures.nth(2)), "benchmark-kept")
    page = book.page.context.new_page()
    page.set_viewport_size({"width": 1000, "height": 1400})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto((report / "report.html").as_uri())
        shoot(page, f"benchmark-report-{scheme}")
    page.close()


@pytest.mark.parametrize("suffix", ["light", "dark"])
@pytest.mark.parametrize("name", PICTURES)
def test_the_documentation_shows_what_is_seen_today(name, suffix):
    kept, seen = IMAGES / f"{name}-{suffix}.png", SCREENSHOTS / f"{name}-{suffix}.png"
    advice = f"Look at {seen}, and write it anew with HYPERLLAMA_TEST_WRITE_IMAGES=1."
    assert kept.exists(), advice
    assert kept.stat().st_size < 150_000
    assert seen.exists(), "The test that takes this picture has not run."
    with Image.open(kept) as before, Image.open(seen) as now:
        assert now.width == before.width, advice
        assert now.height == pytest.approx(before.height, rel=0.3), advice
        # Fonts and numbers differ between two machines, the theme and what is where do not.
        small = [picture.convert("L").resize((24, 24)) for picture in (before, now)]
        [difference] = ImageStat.Stat(ImageChops.difference(*small)).mean
    assert difference < 25, advice
