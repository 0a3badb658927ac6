"""HTML in the markdown of an answer."""

from html.parser import HTMLParser

import mistune
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hyperllama_nb.display.harmless import harmless

LIVE = {"script", "img", "x", "svg", "iframe", "style", "div", "a1"}


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, attrs))


def tags(markdown):
    reader = Tags()
    reader.feed(mistune.html(markdown))
    reader.close()
    return reader.found


def runs(markdown):
    """What of the model's own tags a page would hold."""
    return [
        (tag, attrs)
        for tag, attrs in tags(markdown)
        if tag in LIVE
        or any(name.startswith("on") or "script:" in (value or "") for name, value in attrs)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "plain *text* with `code`, a < b, 1 <2, x<-1 and $a<1$",
        "```html\n<div onclick='x()'>\n```",
        "1. So\n\n   ```cpp\n   vector<int> a;\n   ```\n\n2. Done <https://a.example/x>",
        "|a|b|\n|-|-|\n|x<br>y|z<sub>2</sub>|",
        "see [a](https://b.example?a=1&b=2) and data: this & that &amp; &lt;b>",
    ],
)
def test_what_does_no_harm_stays(text):
    assert harmless(text).replace("\u200b", "") == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>x()</script>", "&lt;script>x()&lt;/script>"),
        ("a <img src=x onerror=x()>", "a &lt;img src=x onerror=x()>"),
        ("<!-- a --> <?x?>", "&lt;!-- a --> &lt;?x?>"),
        ("<br>", "&lt;br>"),
        ("a `<b>`", "a <code>&#60;b&#62;</code>"),
        ("$a<b$", "$a< b$"),
        ("- ```\n<x>", "- ```\n&lt;x>"),
        (
            "1. So\n\n    ```html\n    <p>\n    ```\n",
            "1. So\n\n    <pre><code>&#60;p&#62;</code></pre>\n\n",
        ),
    ],
)
def test_tags_become_signs(text, shown):
    assert harmless(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "$$\n```\n$$\n<img src=x onerror=x()>\n```",
        "```\n```~\n<script>x()</script>",
        "- a\n  ```\nb\n<script>x()</script>\n  ```",
        '[a]: b "t\n```\n"\n<script>x()</script>\n```',
        "\\`<img src=x onerror=x()>`",
        "~~~\n```\n~~~\n<script>x()</script>\n```",
        "[a](javascript:x()) [b](JavaScript\\:x()) [c](java&#115;cript:x()) <javascript:x()>",
        "[a]: javascript&colon;x()\n\n[a]",
        "[a](\n&#106;avascript:x()) [b](java&Tab;script:x()) [c](<javascript: x()>)",
        "```\r<script>x()</script>\r```\r<script>x()</script>",
        "> ```\n> <script>x()</script>\n<script>x()</script>",
        "`a\n<img src=x onerror=x()>\n`",
        "a\n~~~<img src=x onerror=x()>",
        "- ```\n  ```\n\n   <script>x()</script>",
        "[\n~~~\na]: b\n\n<script>x()</script>",
    ],
)
def test_nothing_runs(text):
    assert runs(harmless(text)) == []


PIECES = st.sampled_from(
    [
        "<script>", "<img src=x onerror=x()>", "</x>", "<br>", "<b>", "`", "``", "```", "~~~", "\n",
        "\n\n", "    ", "  ", "- ", "1. ", "> ", "$", "$$", "\\", "a", " ", "[a]: ", '"', "|", "#",
        "\t", "<!--", "-->", "```html", "&", ";", "(", ")", "[", "]",
    ]
)  # fmt: skip


@settings(max_examples=400)
@given(st.lists(PIECES, max_size=25).map("".join))
@example("`<x>`\n<script>")
def test_no_text_makes_it_run(text):
    assert runs(harmless(text)) == []


@given(st.lists(PIECES, max_size=15).map("".join))
def test_code_reads_as_it_was_written(text):
    code = text.translate({ord(mark): " " for mark in "\n`~"}).strip() or "a"
    for fence in ("~" * 9, "`" * 9):
        markdown = f"Text.\n\n{fence}\n{code}\n{fence}\n"
        assert harmless(markdown) == markdown.replace("\r", "\n")
