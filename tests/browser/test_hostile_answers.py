"""Answers with HTML in a real JupyterLab: they are read, and do nothing."""

from hyperllama_nb.testing import Script

ATTACK = (
    "Look: <img src=x onerror='window.ran = 1'> <script>window.ran = 2</script>\n\n"
    "`<b>` and x<br>y and [here](javascript:window.ran=3), $a<b$\n\n"
    "```html\n<p class='kept'>\n```\n"
)
PAGE = "```html\n<p id='inside'>Page</p><script>parent.window.ran = 4; top.ran = 5</script>\n```"

CONTROL = """from IPython.display import Markdown
Markdown("<img src=x onerror='window.proof = 1'>")"""


def test_html_in_an_answer_is_text(scripted):
    book, _ = scripted([Script(pieces=[ATTACK])], "%%llm\nHi", CONTROL)
    book.run(1)
    # JupyterLab itself runs it, so that the other half of this test says something.
    book.until(lambda: book.page.evaluate("window.proof === 1"))
    book.run(0)
    answer = book.output(0).locator(".jp-RenderedMarkdown")
    shown = answer.inner_text()
    assert "<img src=x onerror='window.ran = 1'>" in shown
    assert "<script>window.ran = 2</script>" in shown
    assert answer.locator("code").first.inner_text() == "<b>"
    assert answer.locator("br").count() == 1
    assert "<p class='kept'>" in answer.locator("pre").inner_text()
    link = answer.locator("a")
    assert not (link.get_attribute("href") or "").startswith("javascript:")
    assert book.page.evaluate("window.ran") is None


def test_a_page_that_is_asked_for_runs_in_a_frame_that_reaches_nothing(scripted):
    book, _ = scripted([Script(pieces=[PAGE])], "%%llm -f html\nHi")
    book.run(0)
    frame = book.output(0).frame_locator("iframe")
    assert frame.locator("#inside").inner_text() == "Page"
    assert book.page.evaluate("window.ran") is None
