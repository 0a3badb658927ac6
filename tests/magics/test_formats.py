"""What becomes of a whole answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.magics._formats import form_of, new_cell
from hyperllama_nb.magics._html import shown

TWO = "Try\n```python\nx = 1\n```\nor\n```js\nlet x\n```\n"


@pytest.mark.parametrize(
    ("answer", "cell"),
    [
        (TWO, "x = 1"),
        ("```\nx\n```\n```py\ny\n```", "x\n\ny"),
        ("```sh\nls\n```", "%%sh\nls"),
        ("```sql\nselect 1\n```", "select 1"),
        ("```html\n<b>\n```", "%%html\n<b>"),
        ("```python\n\n```", None),
        ("print(1)\n", "print(1)"),
        ("Sure, here it is:", None),
        ("```python\ncut = [", "cut = ["),
        ("", None),
        ("\0", None),
    ],
)
def test_code_makes_a_cell(answer, cell):
    assert new_cell(answer) == cell


def test_forms_of_code():
    form = form_of("code", extract=False)
    assert form.cell(TWO) == {}
    assert form.plain(TWO) == ""
    assert form.note(TWO) == "1 line of code in the next cell"
    assert form.cell("No, sorry.") == {"text/plain": "No, sorry.", "text/markdown": "No, sorry."}
    assert form.note("No, sorry.") == "no code in the answer"


def test_extraction_shows_the_first_block():
    form = form_of("markdown", extract=True)
    assert form.cell(TWO) == {"text/plain": "x = 1", "text/markdown": "```python\nx = 1\n```"}
    assert form.plain(TWO) == "x = 1"
    assert form.note(TWO) == ""
    assert form.cell("none")["text/plain"] == form.plain("none") == "none"
    assert "no block of code" in form.note("none")


def test_json_is_a_tree_and_indented_text():
    form = form_of("json", extract=False)
    assert form.cell('{"ä": [1]}') == {
        "text/plain": '{\n  "ä": [\n    1\n  ]\n}',
        "application/json": {"ä": [1]},
    }
    assert form.cell("5") == {"text/plain": "5"}
    assert form.cell('{"a') == {"text/plain": '{"a'}
    assert form.plain("") == ""


def test_math_is_typeset():
    form = form_of("math", extract=False)
    assert form.cell("x^2")["text/latex"] == "$$\nx^2\n$$"
    assert form.cell("So $x$ is")["text/latex"] == "So $x$ is"
    assert form.cell("It is\n```latex\n\\frac12\n```")["text/latex"] == "$$\n\\frac12\n$$"
    assert form.plain is None


def test_html_is_taken_out_of_its_fence():
    form = form_of("html", extract=False)
    assert form.cell("Here:\n```html\n<p>a</p>\n```")["text/html"] == "<p>a</p>"
    assert form.cell("<table><tr><td>1</table>")["text/html"] == "<table><tr><td>1</table>"


@pytest.mark.parametrize(
    "html",
    [
        "<script>x()</script>",
        "<img src=x onerror=x()>",
        "<p onclick=x()>a</p>",
        "<a href=' javascript:x()'>a</a>",
        "<a href='java&#115;cript:x()'>a</a>",
        "<svg/onload=x()>",
        "<p style='position: fixed'>a</p>",
        "<iframe src='http://a'></iframe>",
        "<!doctype html><html><body>a</body></html>",
        "<form action='http://a'><input></form>",
    ],
)
def test_html_that_does_things_has_a_frame_of_its_own(html):
    found = shown(html)
    assert found.startswith('<iframe sandbox="allow-scripts" srcdoc="')
    assert "default-src &#x27;none&#x27;" in found
    assert found.count("<") == 2


def test_html_that_is_text_and_structure_stands_in_the_page():
    html = '<h1 title="a &quot; b">T</h1><a href="https://x.example/?a=1&amp;b">x</a> 1 &lt; 2'
    assert shown(html) == html
    assert shown("a <!-- <script>x()</script> --> b") == "a  b"


@given(st.text(alphabet="<>/=!-\"'& abpx", max_size=60))
def test_what_stands_in_the_page_is_read_the_same_again(html):
    found = shown(html)
    assert shown(found) == found or "<iframe" in found
