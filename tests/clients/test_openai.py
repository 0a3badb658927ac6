"""The openai package on `/v1`."""

import asyncio
import json

import openai
import pytest

from tests.clients.conftest import ANSWER, EMBEDDER, MODEL, QUESTION

MESSAGES = [{"role": "user", "content": QUESTION}]
EXACT = {"temperature": 0, "max_tokens": 24}


@pytest.fixture
def client(host, key):
    return openai.OpenAI(base_url=f"{host}/v1", api_key=key, max_retries=0)


@pytest.mark.compat("POST /v1/chat/completions", "chat, by openai", "same")
def test_chat(client):
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES, **EXACT)
    [choice] = answer.choices
    assert choice.message.content == ANSWER
    assert choice.finish_reason == "stop"
    assert answer.usage.completion_tokens > 5


@pytest.mark.compat("POST /v1/chat/completions", "streaming with usage, by openai", "same")
def test_chat_streams(client):
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=MESSAGES,
            stream=True,
            stream_options={"include_usage": True},
            **EXACT,
        )
    )
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == ANSWER
    assert chunks[-1].usage.completion_tokens > 5
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert [reason for reason in reasons if reason] == ["stop"]


@pytest.mark.compat("POST /v1/chat/completions", "max_completion_tokens", "better", "honoured")
def test_max_completion_tokens(client):
    answer = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, temperature=0, max_completion_tokens=3
    )
    assert answer.usage.completion_tokens == 3
    assert answer.choices[0].finish_reason == "length"


@pytest.mark.compat("POST /v1/chat/completions", "response_format", "same")
def test_response_format(client):
    schema = {
        "type": "object",
        "properties": {"capital": {"type": "string"}, "large": {"type": "boolean"}},
        "required": ["capital", "large"],
    }
    answer = client.chat.completions.create(
        model=MODEL,
        messages=MESSAGES,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    )
    found = json.loads(answer.choices[0].message.content)
    assert type(found["large"]) is bool


@pytest.mark.compat("POST /v1/completions", "completions, by openai", "same")
def test_completions(client):
    answer = client.completions.create(model=MODEL, prompt="One, two, three,", **EXACT)
    assert "four" in answer.choices[0].text


@pytest.mark.compat("GET /v1/models", "list, by openai", "same")
@pytest.mark.compat("GET /v1/models/{name}", "retrieve, by openai", "same")
def test_models(client):
    assert MODEL in {model.id for model in client.models.list()}
    assert client.models.retrieve(MODEL).id == MODEL


@pytest.mark.compat("POST /v1/embeddings", "embeddings, by openai", "same")
def test_embeddings(client):
    answer = client.embeddings.create(model=EMBEDDER, input=["a cat", "a dog"])
    assert [len(item.embedding) for item in answer.data] == [384, 384]
    assert answer.usage.prompt_tokens > 0


@pytest.mark.compat("POST /v1/chat/completions", "errors, by openai", "same")
def test_errors(client, host):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="nobody", messages=MESSAGES)
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=MODEL, messages=MESSAGES, temperature="hot")
    stranger = openai.OpenAI(base_url=f"{host}/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


@pytest.mark.compat("POST /v1/chat/completions", "the asynchronous client", "same")
def test_the_asynchronous_client(host, key):
    async def work():
        client = openai.AsyncOpenAI(base_url=f"{host}/v1", api_key=key, max_retries=0)
        stream = await client.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, **EXACT
        )
        return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

    assert asyncio.run(work()) == ANSWER
