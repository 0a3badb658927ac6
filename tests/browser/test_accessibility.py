"""What axe-core finds in cells and widgets, in both themes: nothing serious."""

import pytest
from playwright.sync_api import expect

from hyperllama_nb.testing import Script
from tests.browser.looks import faults
from tests.browser.screen import DARK, LIGHT

RICH = Script(pieces=["A **river**, see `delta` and [this](http://x.example).\n\n- one\n- two"])

CELLS = {
    "%%llm\nTell of a river.": "small",
    "%llm chat": ".hl-chat",
    "%llm models": ".hl-models tbody tr",
    "%llm monitor": ".hl-monitor",
    "%llm benchmark": ".hl-benchmark",
    "%llm ps": "table, pre",
}
"""Cells, and what is there once they have shown what they show."""


@pytest.fixture
def book(scripted):
    made, _ = scripted([RICH], *CELLS)
    return made


def test_nothing_serious_is_found(book):
    found = {}
    for index, (cell, part) in enumerate(CELLS.items()):
        book.run(index)
        output = book.output(index)
        expect(output.locator(part).first).to_be_visible()
        output.locator("details").evaluate_all("(all) => all.forEach((one) => { one.open = true })")
        for theme in (LIGHT, DARK):
            book.screen.theme(theme)
            found[cell, theme] = faults(output)
    assert not any(found.values()), {key: value for key, value in found.items() if value}
