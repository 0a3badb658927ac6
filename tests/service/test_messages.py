"""Messages, tools, images and `think`, as requests have them."""

import pytest

from hyperllama_nb.errors import RequestError, TooLargeError
from hyperllama_nb.service.messages import read_images, read_message, read_think, read_tools

CALL = {"function": {"name": "add", "arguments": {"a": 1}}}


def test_a_message_keeps_what_templates_read():
    turn = read_message({"role": "Assistant", "tool_calls": [{"id": "x", **CALL}], "thinking": "h"})
    assert turn == {
        "role": "assistant",
        "content": "",
        "thinking": "h",
        "tool_calls": [{"type": "function", "id": "x", **CALL}],
    }


def test_empty_fields_are_absent_ones():
    turn = read_message({"role": "tool", "content": "3", "tool_name": "add", "tool_call_id": ""})
    assert turn == {"role": "tool", "content": "3", "tool_name": "add"}


@pytest.mark.parametrize(
    "message",
    [
        "Hi",
        {"content": "Hi"},
        {"role": 1, "content": "Hi"},
        {"role": "user", "content": ["Hi"]},
        {"role": "user", "thinking": 1},
        {"role": "assistant", "tool_calls": {"name": "x"}},
        {"role": "assistant", "tool_calls": [{"function": {"name": "x", "arguments": "{}"}}]},
        {"role": "assistant", "tool_calls": [{"function": {"arguments": {}}}]},
    ],
)
def test_other_shapes_are_refused(message):
    with pytest.raises(RequestError):
        read_message(message)


def test_tools_are_read_as_they_are():
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    assert read_tools([tool]) == (tool,)
    assert read_tools([]) == read_tools(None) == ()
    for wrong in ("x", [1], [{"function": {}}], [tool] * 200):
        with pytest.raises(RequestError):
            read_tools(wrong)


def test_images_must_be_base64_and_few():
    assert read_images(["aGk="])
    assert not read_images([])
    with pytest.raises(RequestError, match="illegal base64 data at input byte 4"):
        read_images(["data:image/png;base64,aGk="])
    with pytest.raises(RequestError):
        read_images("aGk=")
    with pytest.raises(TooLargeError):
        read_images(["aGk="] * 17)


def test_think_takes_a_boolean_or_an_effort():
    assert [read_think(value) for value in (None, True, False, "high")] == [
        None,
        True,
        False,
        "high",
    ]
    with pytest.raises(RequestError, match='invalid think value: "very"'):
        read_think("very")
    with pytest.raises(RequestError, match="think must be a boolean or string"):
        read_think(1)
