"""`/v1/chat/completions`: requests as OpenAI's clients send them, answers as they read them."""

import json

import pytest

from hyperllama_nb.testing import Script, install_tiny
from tests.service.hosting import ANSWER, hosting
from tests.service.openai_calls import chat, chunks, error, text_of
from tests.service.test_features import CALLED, SMART, THOUGHT, TOOL, USER, prompt_of

ROUTE = "POST /v1/chat/completions"
HI = [{"role": "user", "content": "Hi"}]


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


def params(service, model="tiny:latest"):
    """Return what the engine was last sent."""
    return service.requests(model)[-1]["params"]


@pytest.mark.compat(ROUTE, "a whole answer", "same")
def test_a_whole_answer(client):
    response = chat(client)
    assert response.headers["content-type"].startswith("application/json")
    answer = response.json()
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["model"] == "tiny"
    assert answer["system_fingerprint"] == "fp_ollama"
    [choice] = answer["choices"]
    assert choice["index"] == 0
    assert choice["message"] == {"role": "assistant", "content": ANSWER}
    assert choice["finish_reason"] == "stop"
    usage = answer["usage"]
    assert usage["completion_tokens"] == 7
    assert usage["total_tokens"] == usage["prompt_tokens"] + 7


@pytest.mark.compat(ROUTE, "stream: role first, a reason of its own, [DONE]", "same")
def test_a_stream(client):
    got, headers = chunks(client, "/v1/chat/completions", messages=HI)
    assert headers["content-type"] == "text/event-stream"
    assert got[-1] == "[DONE]"
    parts = got[:-1]
    assert len({(part["id"], part["created"]) for part in parts}) == 1
    assert {part["object"] for part in parts} == {"chat.completion.chunk"}
    deltas = [part["choices"][0]["delta"] for part in parts]
    assert deltas[0] == {"role": "assistant", "content": "The"}
    assert all(delta.keys() == {"content"} for delta in deltas[1:-1])
    assert deltas[-1] == {}
    reasons = [part["choices"][0]["finish_reason"] for part in parts]
    assert reasons == [None] * 7 + ["stop"]
    assert text_of(parts) == ANSWER
    assert not any("usage" in part for part in parts)


@pytest.mark.compat(ROUTE, "stream_options.include_usage", "same")
def test_a_stream_ends_with_the_counts_where_they_are_wanted(client):
    got, _ = chunks(
        client, "/v1/chat/completions", messages=HI, stream_options={"include_usage": True}
    )
    last = got[-2]
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 7
    assert [part["usage"] for part in got[:-2]] == [None] * 8


def test_an_empty_answer_has_a_role_and_a_reason(thread):
    with thread([Script(pieces=[""])]) as service:
        got, _ = chunks(service.client, "/v1/chat/completions", messages=HI)
        assert [part["choices"][0]["delta"] for part in got[:-1]] == [
            {"role": "assistant", "content": ""},
            {},
        ]


@pytest.mark.compat(ROUTE, "max_tokens", "same")
@pytest.mark.compat(ROUTE, "max_completion_tokens", "better", "honoured, and before max_tokens")
def test_the_length_is_limited(client):
    for fields, text in (
        ({"max_tokens": 2}, "The capital"),
        ({"max_completion_tokens": 1, "max_tokens": 5}, "The"),
    ):
        [choice] = chat(client, **fields).json()["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == (text, "length")


@pytest.mark.compat(ROUTE, "temperature and top_p: 1.0 before the model's own", "same")
def test_the_defaults_are_openais(service):
    install_tiny(service.store, "warm", options={"temperature": 0.2, "top_p": 0.5, "top_k": 7})
    assert chat(service.client, model="warm").status_code == 200
    sent = params(service, "warm:latest")
    assert (sent["temperature"], sent["top_p"], sent["top_k"]) == (1.0, 1.0, 7)


@pytest.mark.compat(ROUTE, "seed, stop, penalties", "same")
def test_sampling_is_passed_on(service):
    fields = {
        "temperature": 0.5,
        "top_p": 0.6,
        "seed": 42,
        "stop": " France",
        "presence_penalty": 0.3,
        "frequency_penalty": -0.4,
    }
    [choice] = chat(service.client, **fields).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("The capital of", "stop")
    sent = params(service)
    assert {name: sent[name] for name in fields} == {**fields, "stop": [" France"]}


@pytest.mark.compat(
    ROUTE, "options, num_ctx, keep_alive, top_k, min_p", "better", "taken; Ollama drops them"
)
def test_ollamas_options_are_taken(service):
    fields = {"top_k": 3, "min_p": 0.1, "keep_alive": "1h", "options": {"temperature": 0.1}}
    [choice] = chat(service.client, num_ctx=100, **fields).json()["choices"]
    assert choice["hyperllama"]["context_length"] == 100
    sent = params(service)
    assert (sent["top_k"], sent["min_p"], sent["temperature"]) == (3, 0.1, 0.1)
    assert chat(service.client, options={"temperature": 0.1}, temperature=0.2).status_code == 200
    assert params(service)["temperature"] == 0.2


@pytest.mark.compat(ROUTE, "n", "better", "up to 8 answers, with seeds of their own")
def test_several_answers(service):
    answer = chat(service.client, n=3, seed=5, max_tokens=4).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert {c["message"]["content"] for c in answer["choices"]} == {"The capital of France"}
    assert sorted(r["params"]["seed"] for r in service.requests()[-3:]) == [5, 6, 7]
    assert answer["usage"]["completion_tokens"] == 12
    one = chat(service.client, max_tokens=4).json()["usage"]
    assert answer["usage"]["prompt_tokens"] == one["prompt_tokens"]
    assert chat(service.client, n=2).status_code == 200
    assert len({r["params"]["seed"] for r in service.requests()[-2:]}) == 2


def test_several_answers_stream_with_their_index(client):
    usage = {"include_usage": True}
    got, _ = chunks(client, "/v1/chat/completions", messages=HI, n=2, stream_options=usage)
    parts = got[:-2]
    for index in (0, 1):
        own = [part for part in parts if part["choices"][0]["index"] == index]
        assert text_of(own) == ANSWER
        assert own[0]["choices"][0]["delta"]["role"] == "assistant"
        assert own[-1]["choices"][0]["finish_reason"] == "stop"
    assert got[-2]["usage"]["completion_tokens"] == 14


def test_too_many_answers_are_refused(client):
    for n in (0, 9):
        assert "`n` must be between 1 and 8" in error(chat(client, n=n), 400)["message"]


@pytest.mark.compat(ROUTE, "reasoning", "same")
def test_thinking_is_told_as_reasoning(thinking):
    message = chat(thinking.client, model="smart", messages=USER).json()["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "It is fine.", "reasoning": "Let me see."}
    got, _ = chunks(thinking.client, "/v1/chat/completions", model="smart", messages=USER)
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
    got, _ = chunks(
        calling.client, "/v1/chat/completions", model="smart", messages=USER, tools=[TOOL]
    )
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
            got, _ = chunks(service.client, "/v1/chat/completions", **fields)
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


@pytest.mark.parametrize(
    ("choice", "tools", "text"),
    [
        ("always", [TOOL], '`tool_choice` must be "none"'),
        ({"type": "function"}, [TOOL], '`tool_choice` must be "none"'),
        ({"type": "function", "function": {"name": "x"}}, [TOOL], "which is not among the `tools`"),
        ("required", [], "the request has no `tools`"),
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


@pytest.mark.compat(ROUTE, "content parts", "better", "one message, where Ollama makes several")
def test_parts_are_joined_to_one_message(calling):
    parts = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    messages = [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": parts}]
    assert chat(calling.client, model="smart", messages=messages).status_code == 200
    prompt = prompt_of(calling)
    assert "<|im_start|>user\nOne.\nTwo.<|im_end|>" in prompt
    assert "<|im_start|>system\nBe kind.<|im_end|>" in prompt


@pytest.mark.compat(ROUTE, "image_url on a model without vision", "not supported", "400 in words")
@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}, "vision"),
        ({"type": "image_url", "image_url": "data:;base64,aGk="}, "vision"),
        ({"type": "image_url", "image_url": {"url": "https://x/y.png"}}, "image URLs are not"),
        (
            {"type": "image_url", "image_url": {"url": "data:image/gif;base64,aGk="}},
            "invalid image",
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,a k"}},
            "illegal base64",
        ),
        ({"type": "image_url"}, "invalid image input"),
        ({"type": "video_url"}, "is not known"),
        ({"type": "text"}, "must be a string"),
        ("x", "must be an object"),
    ],
)
def test_a_part_that_is_not_text_is_refused_in_words(client, part, text):
    messages = [{"role": "user", "content": [part]}]
    assert text in error(chat(client, messages=messages), 400)["message"]


@pytest.mark.compat(ROUTE, "audio", "not supported", "501 in words")
def test_audio_is_refused_in_words(client):
    messages = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]
    assert "Audio is not supported" in error(chat(client, messages=messages), 501)["message"]


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([], "[] is too short - 'messages'"),
        (None, "[] is too short - 'messages'"),
        ("x", "cannot unmarshal"),
        (["x"], "cannot unmarshal"),
        ([{"role": "user", "content": 1.5}], "invalid message content type: float64"),
        ([{"role": "user"}], "invalid message content type: <nil>"),
        ([{"content": "x"}], "needs a `role`"),
        ([{"role": "assistant", "tool_calls": "x"}], "cannot unmarshal `tool_calls`"),
        ([{"role": "assistant", "tool_calls": ["x"]}], "cannot unmarshal a tool call"),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "["}}]}],
            "invalid tool call arguments",
        ),
    ],
)
def test_messages_of_a_wrong_shape_are_refused(client, messages, text):
    assert text in error(chat(client, messages=messages), 400)["message"]


@pytest.mark.compat(ROUTE, "response_format", "same")
def test_the_form_of_an_answer_is_asked_for(thread):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    with thread([Script(pieces=['{"a": ', "1}"])]) as service:
        for wanted in (
            {"type": "json_object"},
            {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        ):
            [choice] = chat(service.client, response_format=wanted).json()["choices"]
            assert isinstance(json.loads(choice["message"]["content"]), dict)
            assert choice["hyperllama"]["structure"]
        [choice] = chat(service.client, response_format={"type": "text"}).json()["choices"]
        assert choice["hyperllama"]["structure"] is None


@pytest.mark.parametrize("wanted", ["json", {}, {"type": "xml"}, {"type": "json_schema"}])
def test_a_wrong_response_format_is_refused(client, wanted):
    assert "response_format" in error(chat(client, response_format=wanted), 400)["message"]


@pytest.mark.compat(
    ROUTE,
    "logit_bias and other fields that are not done",
    "better",
    "refused in words, where Ollama drops them; unknown ones are told in `hyperllama`",
)
def test_what_would_change_the_answer_is_not_dropped_silently(client):
    for fields in (
        {"logit_bias": {"1": 5}},
        {"functions": [{"name": "f"}]},
        {"modalities": ["text", "audio"]},
        {"web_search_options": {}},
        {"best_of": 2},
    ):
        assert "is not supported" in error(chat(client, **fields), 400)["message"]
    harmless = {
        "user": "me",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "auto",
        "parallel_tool_calls": True,
        "logit_bias": {},
        "modalities": ["text"],
        "functions": None,
    }
    [choice] = chat(client, **harmless, mirostat=1).json()["choices"]
    assert choice["hyperllama"]["ignored_options"] == ["mirostat"]


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": "hot"},
        {"top_p": 2},
        {"stop": 1},
        {"max_tokens": "x"},
        {"stream": "yes"},
        {"n": 1.5},
        {"stream_options": 1},
        {"top_logprobs": 21, "logprobs": True},
        {"top_logprobs": 2},
        {"keep_alive": "300"},
        {"options": []},
        {"tools": "x"},
        {"seed": "x"},
        {"model": 1},
    ],
)
def test_a_wrong_value_is_400(client, fields):
    assert error(chat(client, **fields), 400)["type"] == "invalid_request_error"


def test_a_prompt_that_is_too_long_has_openais_code(client):
    long = [{"role": "user", "content": "x" * 3000}]
    response = chat(client, messages=long, num_ctx=1000, truncate=False)
    assert error(response, 400)["code"] == "context_length_exceeded"
    [choice] = chat(client, messages=long, num_ctx=1000).json()["choices"]
    assert choice["hyperllama"]["truncated_tokens"] > 2000


def test_keys_match_without_regard_to_case_and_null_is_absent(client):
    body = b'{"MODEL": "Tiny", "Messages": [{"role": "user", "content": "x"}], "tools": null} x'
    response = client.post("/v1/chat/completions", content=body)
    assert response.json()["choices"][0]["message"]["content"] == ANSWER
    assert response.json()["model"] == "Tiny"
