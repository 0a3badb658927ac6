"""The models widget in a real JupyterLab: a pull with its progress, the keyboard, both themes."""

import re

import pytest
from playwright.sync_api import expect

from hyperllama_nb.testing import Script
from tests.browser.looks import contrast, faults
from tests.browser.screen import DARK, LIGHT, shoot
from tests.models import registry_server
from tests.models.registry_server import Registry, digest_of
from tests.service.test_pulls import GGUF

CELL = "from hyperllama_nb import widgets\nmodels = widgets.Models()\nmodels"

PART = -(-len(GGUF) * 43 // 100)


@pytest.fixture
def registry():
    with registry_server.serve(Registry(stall=PART, pause=0.2)) as served:
        served.put("library/tiny:1", {"model": GGUF})
        yield served


def line(widget, name):
    return widget.locator("tr").filter(has=widget.page.get_by_role("rowheader", name=name))


def press(page, key, times=1):
    for _ in range(times):
        page.keyboard.press(key)


def test_a_pull_is_cancelled_resumed_and_loaded_by_keyboard(scripted, registry):
    pull = f"models.pull({registry.name('library/tiny:1')!r}, insecure=True, name='llama:tiny')"
    env = {"HYPERLLAMA_PULL_HOSTS": registry.host}
    book, service = scripted([Script()], CELL, pull, env=env)
    page = book.page
    service.lines("/admin/load", model="tiny")
    book.run(0)
    widget = book.output(0).locator(".hl-models")
    expect(line(widget, "tiny:latest")).to_contain_text("loaded")
    book.evaluate(pull)
    pulled = line(widget, "llama:tiny")
    bar = pulled.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", "43")
    said = bar.get_attribute("aria-valuetext")
    assert re.search(r" kB of 114 kB \(43 %\), [\d.]+ kB/s, [\d.]+ s left$", said), said
    for theme, suffix in ((LIGHT, "light"), (DARK, "dark")):
        book.screen.theme(theme)
        assert faults(widget) == []
        for text in (pulled.get_by_role("rowheader"), widget.locator(".hl-foot")):
            assert contrast(text) >= 4.5
        shoot(widget, f"models-{suffix}")
    book.screen.theme(LIGHT)

    # From here on by keyboard alone.
    widget.get_by_label("Filter", exact=True).click()
    cancel = pulled.get_by_role("button", name="Cancel the pull of llama:tiny")
    for _ in range(40):
        press(page, "Tab")
        if cancel.evaluate("(button) => button === document.activeElement"):
            break
    press(page, "Enter")
    resume = pulled.get_by_role("button", name="Go on with the pull of llama:tiny")
    expect(resume).to_be_focused()
    registry.stall = None
    press(page, "Space")
    expect(pulled).to_contain_text("in the store")
    assert registry.asked(digest_of(GGUF))[-1]["range"] == f"bytes={PART}-"
    load = pulled.get_by_role("button", name="Load llama:tiny")
    expect(load).to_be_focused()
    press(page, "Enter")
    expect(pulled).to_contain_text("loaded")
    expect(pulled.get_by_role("button", name="Unload")).to_be_focused()
    press(page, "Tab")
    press(page, "Enter")
    expect(pulled.get_by_text("pinned", exact=True)).to_be_visible()
    assert service.told("pinned", "llama:tiny")


def test_a_removal_is_asked_twice_and_the_saved_file_tells_the_state(scripted):
    book, service = scripted([Script()], CELL)
    book.run(0)
    widget = book.output(0).locator(".hl-models")
    row = line(widget, "tiny:latest")
    row.get_by_role("button", name="Remove tiny:latest").click()
    expect(row.get_by_role("button", name="Keep it")).to_be_focused()
    press(book.page, "Enter")
    expect(row.get_by_role("button", name="Remove tiny:latest")).to_be_focused()
    assert service.store.list()
    press(book.page, "Enter")
    press(book.page, "Shift+Tab")
    press(book.page, "Enter")
    expect(row).to_have_count(0)
    assert service.store.list() == []
    widget.get_by_label("Pull a model").fill("no such name!")
    press(book.page, "Enter")
    expect(widget.locator(".hl-notice")).to_contain_text("invalid model name")
    text = "".join(
        output["data"]["text/plain"] for output in book.save().cells[0].outputs if "data" in output
    )
    assert "smollm2:135m" in text
    assert "tiny:latest" not in text
    assert "free on its disk" in text


def test_sorting_and_filtering(scripted):
    book, _ = scripted([Script()], CELL)
    book.run(0)
    widget = book.output(0).locator(".hl-models")
    names = widget.get_by_role("rowheader")
    expect(names.first).to_contain_text("tiny:latest")
    size = widget.get_by_role("columnheader", name="Size")
    size.get_by_role("button").press("Enter")
    expect(size).to_have_attribute("aria-sort", "ascending")
    size.get_by_role("button").press("Enter")
    expect(size).to_have_attribute("aria-sort", "descending")
    expect(names.last).to_contain_text("tiny:latest")
    widget.get_by_label("Filter", exact=True).fill("catalog smol")
    expect(names).to_have_count(2)
