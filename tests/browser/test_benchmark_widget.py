"""The benchmark widget in a real JupyterLab: by keyboard, while it runs, and what a file keeps."""

import json

import pytest
from playwright.sync_api import expect

from hyperllama_nb.testing import Script
from tests.browser.looks import contrast, faults
from tests.browser.screen import DARK, LIGHT
from tests.service.hosting import open_stream

CELL = """from hyperllama_nb.widgets import Benchmark
b = Benchmark("tiny", ["fake", "fake"], concurrency=[1, 2], input_tokens=8, output_tokens=8,
              requests=REQUESTS, blocks=3)
b"""

STEADY = Script(repeat=10**6, delay_first=0.03, delay=0.01)


@pytest.fixture
def opened(scripted):
    """Return a function that shows a benchmark with so many requests, and gives its place."""

    def open_(requests, *cells):
        book, service = scripted([STEADY], CELL.replace("REQUESTS", str(requests)), *cells)
        book.run(0)
        return book, service, book.output(0).locator(".hl-benchmark")

    return open_


def reach(page, target, key="Tab", most=60):
    """Press Tab until something has the focus."""
    for _ in range(most):
        if target.evaluate("(one) => one === one.getRootNode().activeElement"):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{target} cannot be reached by {key}")


def test_a_comparison_is_made_by_keyboard_alone(opened):
    book, _, widget = opened(30)
    keys = book.page.keyboard
    widget.get_by_label("Model").focus()
    blocks = widget.get_by_label("Blocks")
    reach(book.page, blocks)
    keys.press("Control+A")
    keys.type("none")
    keys.press("Tab")
    expect(blocks).to_have_attribute("aria-invalid", "true")
    expect(blocks).to_have_value("none")
    expect(widget.get_by_text("Write a whole number from 1 up.")).to_be_visible()
    keys.press("Shift+Tab")
    keys.press("Control+A")
    keys.type("2")
    main = widget.get_by_role("button", name="Start")
    reach(book.page, main)
    expect(blocks).to_have_attribute("aria-invalid", "false")
    assert book.value("b._setup.choice.blocks") == 2
    keys.press("Enter")
    line = widget.locator(".hl-line")
    expect(line).to_contain_text("block 1 of 2")
    pause = widget.get_by_role("button", name="Pause")
    expect(pause).to_be_focused()
    keys.press("Enter")
    expect(line).to_contain_text("Paused.")
    go_on = widget.get_by_role("button", name="Go on")
    expect(go_on).to_be_focused()
    expect(widget.get_by_role("status")).to_contain_text("Paused.")
    made = book.value("len(b.requests)")
    assert made > 0
    keys.press("Space")
    expect(pause).to_be_focused()
    book.until(lambda: book.value("len(b.requests)") > made)
    stop = widget.get_by_role("button", name="Stop")
    reach(book.page, stop)
    keys.press("Enter")
    expect(line).to_contain_text("Stopped.")
    assert not book.value("b.running")
    more = widget.get_by_role("button", name="+3 blocks")
    reach(book.page, more)
    keys.press("Enter")
    expect(line).to_contain_text("of 5")
    reach(book.page, stop, "Shift+Tab")
    keys.press("Enter")
    expect(line).to_contain_text("Stopped.")
    assert book.value("b.session.blocks") == 5


def test_objectives_change_the_numbers_at_once_and_the_file_keeps_them(opened):
    book, _, widget = opened(6)
    widget.get_by_role("button", name="Start").click()
    expect(widget.locator(".hl-line")).to_contain_text("Done.")
    count = book.value("len(b.requests)")
    expect(widget.get_by_role("progressbar")).to_have_attribute("value", str(count))
    within = widget.locator(".hl-within")
    slider = widget.get_by_role("slider", name="Time to first token")
    expect(slider).to_have_attribute("aria-valuetext", "no limit")
    slider.focus()
    book.page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", "60 s")
    expect(within).to_contain_text("fake: 18 of 18 (")
    book.page.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", "1 ms")
    expect(within).to_contain_text("fake: 0 of 18 (")
    expect(slider).to_be_focused()
    limit = widget.get_by_role("textbox", name="End-to-end latency, limit in ms")
    limit.fill("60000")
    limit.press("Tab")
    slider.press("End")
    expect(within).to_contain_text("fake: 18 of 18 (")
    assert book.value("len(b.requests)") == count
    assert book.value("b.objectives.e2e") == 60

    widget.get_by_role("combobox", name="Number").select_option("end-to-end latency")
    expect(widget.get_by_role("img", name="end-to-end latency").first).to_be_visible()
    widget.get_by_role("combobox", name="Load").select_option("2 at a time")
    expect(widget.get_by_role("img", name="2 at a time").first).to_be_visible()

    # the kept form follows a little later
    expect(book.output(0).locator("img[alt*='2 at a time: distribution']")).to_have_count(1)
    saved = book.save()
    assert "widgets" not in saved.metadata
    kept = saved.cells[0].outputs[-1]["data"]
    assert "2 at a time" in kept["text/plain"]
    assert "Fairness: " in kept["text/plain"]
    assert len(json.dumps(kept)) < 200_000
    # The same page shows both, and a live view hides its kept form wherever that is.
    book.evaluate("b.finish()")
    with book.screen.reopened(saved) as again:
        expect(again.output(0).locator(".hl-benchmark")).to_have_count(0)
        expect(again.output(0).get_by_role("img", name="end-to-end latency").first).to_be_visible()
        expect(again.output(0)).to_contain_text("18 of 18")


def test_it_measures_while_another_cell_runs_and_looks_well(opened):
    book, _, widget = opened(20, "import time; b.start(); time.sleep(6); b.stop(); b.wait()")
    book.start(1)
    expect(widget.get_by_role("img", name="median so far")).to_be_visible()
    for theme in (LIGHT, DARK):
        book.screen.theme(theme)
        assert faults(widget) == []
        for text in (widget.locator(".hl-line"), widget.locator(".hl-controls .hl-muted")):
            assert contrast(text) >= 4.5
    book.screen.theme(LIGHT)
    book.ended(1)
    expect(widget.locator(".hl-line")).to_contain_text("Stopped.")


def test_who_is_answered_is_not_disturbed(opened):
    _, service, widget = opened(4)
    with open_stream(service, options={"num_predict": 10**5}):
        widget.get_by_role("button", name="Start").click()
        expect(widget.get_by_role("alert")).to_contain_text("answering somebody")
    expect(widget.get_by_role("button", name="Start")).to_be_enabled()
