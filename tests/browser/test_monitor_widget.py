"""The monitor in a real JupyterLab, while another notebook generates."""

from playwright.sync_api import expect

from tests.service.hosting import SLOW


def test_it_sees_another_notebook_and_leaves_a_figure(scripted):
    other, service = scripted([SLOW], "%%llm\nTell of a river.")
    other.start(0)
    other.until(lambda: "x" in other.output(0).inner_text())
    book, _ = scripted(service, "%llm monitor -O monitor", "reached = True")
    book.run(0)
    strip = book.output(0).locator(".hl-monitor")
    expect(strip.locator(".hl-numbers")).to_contain_text("1 running")
    expect(book.output(0).locator(".js-plotly-plot")).to_be_visible()
    book.run(1)
    rates = "[row['decode'] for row in monitor.samples if row['decode']]"
    book.until(lambda: book.value(f"len({rates})") >= 3)
    assert book.value(f"max({rates})") > 20

    strip.get_by_label("Window").focus()
    book.page.keyboard.press("Tab")
    book.page.keyboard.press("Enter")
    expect(strip.get_by_role("button", name="Go on")).to_be_focused()
    assert book.value("monitor.paused")
    strip.get_by_role("button", name="Stop").click()
    expect(strip).to_have_count(0)
    expect(book.output(0).locator(".js-plotly-plot")).to_be_visible()
    saved = book.save()
    assert "widgets" not in saved.metadata
    kept = saved.cells[0].outputs[-1]["data"]
    assert {"application/vnd.plotly.v1+json", "image/svg+xml", "text/plain"} <= kept.keys()
    assert "decode, tokens/s" in kept["text/plain"]
    assert book.path.stat().st_size < 150_000
    other.show()
    other.press_stop()
    other.ended(0)
