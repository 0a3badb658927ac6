"""Outputs in the forms that models write, cut into pieces in every way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.service.parsing import OutputParser, ToolCall

HERMES, MISTRAL, LLAMA = "tools <tool_call>", "tools [TOOL_CALLS]", "tools <|python_tag|>"

BERN = ToolCall("get_weather", {"city": "Bern", "unit": "celsius"})
TIME = ToolCall("get_time", {})
CITY = '{"city": "Bern", "unit": "celsius"}'

OUTPUTS = [
    # template, output, text, thinking, calls
    (HERMES, "It is sunny.", "It is sunny.", "", []),
    (
        HERMES,
        f'<tool_call>\n{{"name": "get_weather", "arguments": {CITY}}}\n</tool_call>',
        "",
        "",
        [BERN],
    ),
    (
        HERMES,
        (
            "I will look.\n\n<tool_call>\n"
            f'{{"name": "get_weather", "arguments": {CITY}}}\n</tool_call>'
            '\n<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>\n'
        ),
        "I will look.",
        "",
        [BERN, TIME],
    ),
    (
        HERMES,
        (
            "<think>\nThe user wants the weather.\n</think>\n\n<tool_call>\n"
            f'{{"name": "get_weather", "arguments": {CITY}}}\n</tool_call>'
        ),
        "",
        "The user wants the weather.",
        [BERN],
    ),
    (HERMES, '<tool_call>\n{"name": "get_time", "arguments": {}}', "", "", [TIME]),
    (
        HERMES,
        "<tool_call>nonsense</tool_call> Sorry.",
        "<tool_call>nonsense</tool_call> Sorry.",
        "",
        [],
    ),
    (HERMES, "a < b and a <tool b", "a < b and a <tool b", "", []),
    (
        HERMES,
        (
            "<tool_call>\n<function=get_weather>\n<parameter=city>\nBern\n</parameter>\n"
            "<parameter=unit>\ncelsius\n</parameter>\n</function>\n</tool_call>"
        ),
        "",
        "",
        [BERN],
    ),
    (MISTRAL, f'[TOOL_CALLS][{{"name": "get_weather", "arguments": {CITY}}}]', "", "", [BERN]),
    (
        MISTRAL,
        f"[TOOL_CALLS]get_weather[ARGS]{CITY}[TOOL_CALLS]get_time[ARGS]{{}}",
        "",
        "",
        [BERN, TIME],
    ),
    (MISTRAL, "One [TOOL] is enough.", "One [TOOL] is enough.", "", []),
    (MISTRAL, "[TOOL_CALLS]nothing", "[TOOL_CALLS]nothing", "", []),
    (LLAMA, f'{{"name": "get_weather", "parameters": {CITY}}}', "", "", [BERN]),
    (
        LLAMA,
        (
            f'<|python_tag|>{{"name": "get_weather", "parameters": {CITY}}}; '
            '{"name": "get_time", "parameters": {}}'
        ),
        "",
        "",
        [BERN, TIME],
    ),
    (LLAMA, '{"answer": 42} is JSON.', '{"answer": 42} is JSON.', "", []),
    (LLAMA, "{not JSON at all", "{not JSON at all", "", []),
    (LLAMA, " Plain text {with braces}.", " Plain text {with braces}.", "", []),
    (HERMES, "  <think>I th\n\nink</think> Yes.\n", "Yes.\n", "I th\n\nink", []),
    (HERMES, "A <think> later is text.", "A <think> later is text.", "", []),
    (HERMES, "<think>cut off in the mid", "", "cut off in the mid", []),
]


def parsed(template, pieces, **given):
    parser = OutputParser(template, **{"tools": True, "think": True, **given})
    found = [*(parser.feed(piece) for piece in pieces), parser.flush()]
    return (
        "".join(part.text for part in found),
        "".join(part.thinking for part in found),
        [call for part in found for call in part.tool_calls],
    )


@pytest.mark.parametrize(("template", "output", "text", "thinking", "calls"), OUTPUTS)
def test_an_output_is_told_apart(template, output, text, thinking, calls):
    assert parsed(template, [output]) == (text, thinking, calls)
    assert parsed(template, list(output)) == (text, thinking, calls)


@given(st.sampled_from(OUTPUTS), st.lists(st.integers(1, 12), min_size=1))
def test_the_cut_makes_no_difference(example, lengths):
    template, output, text, thinking, calls = example
    pieces, rest = [], output
    for length in lengths * len(output):
        pieces.append(rest[:length])
        rest = rest[length:]
    assert parsed(template, pieces) == (text, thinking, calls)


@given(st.text(), st.sampled_from([HERMES, MISTRAL, LLAMA]), st.integers(1, 5))
def test_text_that_is_no_call_is_never_lost(text, template, length):
    pieces = [text[i : i + length] for i in range(0, len(text), length)]
    assert parsed(template, pieces, think=False)[0] == text


def test_text_streams_as_it_comes():
    parser = OutputParser(HERMES, tools=True, think=False)
    assert [parser.feed(piece).text for piece in ("The", " answer", " is", " 4.")] == [
        "The",
        " answer",
        " is",
        " 4.",
    ]


def test_arguments_as_a_string_are_parsed():
    output = '<tool_call>{"name": "get_time", "arguments": "{\\"zone\\": 1}"}</tool_call>'
    assert parsed(HERMES, [output])[2] == [ToolCall("get_time", {"zone": 1})]


def test_each_call_has_an_id_of_its_own():
    first, second = ToolCall("a"), ToolCall("a")
    assert first == second
    assert first.id != second.id
    assert len(first.id) == len("call_") + 8


def test_a_prompt_may_have_opened_the_thinking():
    found = parsed(HERMES, ["\nWell", ", yes.\n</thi", "nk>\n\nYes."], begun_thinking=True)
    assert found == ("Yes.", "Well, yes.", [])


def test_without_tools_and_thinking_everything_is_text():
    output = "<think>x</think><tool_call>{}</tool_call>"
    assert parsed(HERMES, [output], tools=False, think=False) == (output, "", [])
