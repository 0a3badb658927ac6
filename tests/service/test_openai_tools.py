"""`/v1/chat/completions`: tool calls and reasoning."""

import json

import pytest

from hyperllama_nb.testing import Script, install_tiny
from tests.service.hosting import hosting
from tests.service.openai_calls import CHAT, chat, chunks, error, text_of
from tests.service.test_features import CALLED, SMART, THOUGHT, TOOL, USER, prompt_of

ROUTE = f"POST {CHAT}"


def smart(pieces):
    with hosting("thread", [Script(pieces=pieces)]) as running:
        install_tiny(running.store, "smart", template=SMART)
        yield running


@pytest.fixture(scope="module")
def thinking():
    yield from smart(THOUGHT)


@pytest.fixture(scope="module")
def calling():
    yield from smart(CALLED)


@pytest.mark.compat(ROUTE, "reasoning", "same")
def test_thinking_is_told_as_reasoning(thinking):
    message = chat(thinking.client, model="smart", messages=USER).json()["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "It is fine.", "reasoning": "Let me see."}
    got, _ = chunks(thinking.client, CHAT, model="smart", messages=USER)
    deltas = [part["choices"][0]["delta"] for part in got[:-1]]
    assert "".join(delta.get("reasoning", "") for delta in deltas) == "Let me see."
    assert all(delta["content"] == "" for delta in deltas if "reasoning" in delta)
    assert text_of(got[:-1]) == "It is fine."


@pytest.mark.compat(ROUTE, "reasoning_effort, reasoning.effort", "same")
def test_the_effort_decides_whether_the_model_thinks(thinking):
    for fields, thinks in (
        ({"reasoning_effort": "none"}, False),
        ({"reasoning": {"effort": "none"}}, False),
        ({"reasoning_effort": "minimal"}, True),
        ({"reasoning": {"effort": "xhigh"}}, True),
    ):
        assert chat(thinking.client, model="smart", messages=USER, **fields).status_code == 200
        assert ("<think>\n\n</think>" in prompt_of(thinking)) is not thinks
    refused = chat(thinking.client, model="smart", reasoning_effort="some")
    assert error(refused, 400)["message"].startswith("invalid reasoning value: 'some'")


def test_effort_of_a_model_that_cannot_think_is_refused(client):
    assert (
        "does not support thinking" in error(chat(client, reasoning_effort="low"), 400)["message"]
    )


@pytest.mark.compat(ROUTE, "tools", "same")
def test_a_call_is_one_chunk(calling):
    got, _ = chunks(calling.client, CHAT, model="smart", messages=USER, tools=[TOOL])
    deltas = [part["choices"][0]["delta"] for part in got[:-1]]
    [called] = [delta for delta in deltas if "tool_calls" in delta]
    [call] = called["tool_calls"]
    assert call["index"] == 0
    assert call["id"].startswith("call_")
    assert call["type"] == "function"
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Bern"}
    assert got[-2]["choices"][0]["finish_reason"] == "tool_calls"
    [choice] = chat(calling.client, model="smart", messages=USER, tools=[TOOL]).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == ""
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {
        "city": "Bern"
    }


def test_calls_are_numbered_through_the_answer_and_one_is_enough_for_some(thread):
    with thread([Script(pieces=[*CALLED, "\n", *CALLED])]) as service:
        install_tiny(service.store, "smart", template=SMART)
        body = {"model": "smart", "messages": USER, "tools": [TOOL]}
        for parallel, numbers in ((True, [0, 1]), (False, [0])):
            fields = {**body, "parallel_tool_calls": parallel}
            got, _ = chunks(service.client, CHAT, **fields)
            deltas = [part["choices"][0]["delta"] for part in got[:-1]]
            calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
            assert [call["index"] for call in calls] == numbers
            [choice] = chat(service.client, **fields).json()["choices"]
            assert len(choice["message"]["tool_calls"]) == len(numbers)


@pytest.mark.compat(ROUTE, "tool_choice: none", "better", "honoured")
def test_tools_can_be_kept_from_the_model(calling):
    fields = {"model": "smart", "messages": USER, "tools": [TOOL], "tool_choice": "none"}
    [choice] = chat(calling.client, **fields).json()["choices"]
    assert "tool_calls" not in choice["message"]
    assert "weather" not in prompt_of(calling).split("user")[0]


@pytest.mark.compat(ROUTE, "tool_choice: required, or a tool", "better", "honoured, on any backend")
def test_a_call_can_be_demanded(thread):
    other = {"type": "function", "function": {"name": "other"}}
    with thread([Script(pieces=["Be", "rn", '"', "}"])]) as service:
        install_tiny(service.store, "smart", template=SMART)
        for tools, choice in (
            ([TOOL], "required"),
            ([other, TOOL], {"type": "function", "function": {"name": "weather"}}),
        ):
            fields = {"model": "smart", "messages": USER, "tools": tools, "tool_choice": choice}
            [told] = chat(service.client, reasoning_effort="none", **fields).json()["choices"]
            assert told["finish_reason"] == "tool_calls"
            assert told["message"]["content"] == ""
            [call] = told["message"]["tool_calls"]
            assert call["function"] == {"name": "weather", "arguments": '{"city": "Bern"}'}
            got, _ = chunks(service.client, CHAT, **fields)
            assert text_of(got[:-1]) == ""
            assert got[-2]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("choice", "tools", "text"),
    [
        ("always", [TOOL], '`tool_choice` must be "none"'),
        ({"type": "function"}, [TOOL], '`tool_choice` must be "none"'),
        ({"type": "function", "function": {"name": "x"}}, [TOOL], "which is not among the `tools`"),
        ("required", [], "the request has no `tools`"),
        (
            {"type": "function", "function": {"name": "auto"}},
            [{"type": "function", "function": {"name": "auto"}}],
            "cannot be named in `tool_choice`",
        ),
    ],
)
def test_a_wrong_tool_choice_is_refused(calling, choice, tools, text):
    response = chat(calling.client, model="smart", tools=tools, tool_choice=choice)
    assert text in error(response, 400)["message"]


@pytest.mark.compat(ROUTE, "tool results, named by tool_call_id", "same")
def test_a_tool_result_is_named_by_its_call(calling):
    def call(id_, city):
        function = {"name": f"weather_{city}", "arguments": json.dumps({"city": city})}
        return {"id": id_, "type": "function", "function": function}

    messages = [
        *USER,
        {"role": "assistant", "content": None, "tool_calls": [call("a", "x"), call("b", "y")]},
        {"role": "tool", "tool_call_id": "b", "content": "sunny"},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "wet"}]},
    ]
    response = chat(calling.client, model="smart", messages=messages, tools=[TOOL])
    assert response.status_code == 200
    prompt = prompt_of(calling)
    assert "weather_y: sunny" in prompt
    assert "weather_x: wet" in prompt
    assert '"arguments": {"city": "x"}' in prompt
