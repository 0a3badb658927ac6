"""`/v1/chat/completions`: messages, and requests that are wrong or ask for what is not done."""

import pytest

from hyperllama_nb.testing import install_tiny
from tests.service.hosting import ANSWER
from tests.service.openai_calls import CHAT, chat, error
from tests.service.test_features import SMART, prompt_of

ROUTE = f"POST {CHAT}"


@pytest.mark.compat(ROUTE, "content parts", "better", "one message, where Ollama makes several")
def test_parts_are_joined_to_one_message(service):
    install_tiny(service.store, "smart", template=SMART)
    parts = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    messages = [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": parts}]
    assert chat(service.client, model="smart", messages=messages).status_code == 200
    prompt = prompt_of(service)
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


def test_keys_match_without_regard_to_case_and_null_is_absent(client):
    body = b'{"MODEL": "Tiny", "Messages": [{"role": "user", "content": "x"}], "tools": null} x'
    response = client.post(CHAT, content=body)
    assert response.json()["choices"][0]["message"]["content"] == ANSWER
    assert response.json()["model"] == "Tiny"
