"""Fenced blocks: found, closed, written."""

from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.display.fences import Block, blocks, close_fence, fenced


def test_fences_of_all_kinds():
    assert close_fence("~~~~\n```\n~~~") == "~~~~\n```\n~~~\n~~~~"
    assert close_fence("```\n```x") == "```\n```x\n```"
    assert close_fence("text with ``` inside") == "text with ``` inside"
    assert close_fence("```a`b") == "```a`b"


@given(st.text(alphabet="`~ \nab", max_size=40))
def test_closing_twice_changes_nothing(text):
    assert close_fence(close_fence(text)) == close_fence(text)


def test_blocks_in_lists_and_with_other_fences_inside():
    assert blocks("- a\n\n    ```Python title\n    if x:\n        y\n\n    ```") == [
        Block("python", "if x:\n    y\n")
    ]
    assert blocks("~~~\n```\nx\n```\n~~~") == [Block("", "```\nx\n```")]
    assert [block.code for block in blocks("```\na\n```\ntext\n```\nb")] == ["a", "b"]
    assert blocks("```") == []


@given(st.text(alphabet="`~ \nab", max_size=40))
def test_what_is_fenced_is_found_again(text):
    assert blocks(fenced(text, "x")) == [Block("x", text)]


@given(st.text(alphabet="`~ \t\nab", max_size=40))
def test_blocks_are_found_in_anything(text):
    assert all(isinstance(block.code, str) for block in blocks(text))
