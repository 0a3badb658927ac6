"""ollama-python, with nothing set but its two environment variables."""

import asyncio
import hashlib
import json

import ollama
import pytest

from tests.clients.conftest import ANSWER, EMBEDDER, EXACT, MODEL, QUESTION

MESSAGES = [{"role": "user", "content": QUESTION}]


@pytest.fixture
def copied():
    """Give the model a second name, and take it away again."""
    assert ollama.copy(MODEL, "copied:1").status == "success"
    yield "copied:1"
    ollama.delete("copied:1")


@pytest.mark.compat("GET /api/tags", "list, by ollama-python", "same")
def test_list():
    models = {model.model: model for model in ollama.list().models}
    assert models[MODEL].size > 0
    assert len(models[MODEL].digest) == 64
    assert models[MODEL].modified_at is not None


@pytest.mark.compat("POST /api/show", "show, by ollama-python", "same")
def test_show():
    shown = ollama.show(MODEL)
    assert "completion" in shown.capabilities
    assert shown.modelinfo["llama.context_length"] == 8192
    assert shown.template
    assert shown.details.family == "llama"


@pytest.mark.compat("POST /api/chat", "chat, by ollama-python", "same")
def test_chat():
    response = ollama.chat(MODEL, MESSAGES, options=EXACT)
    assert response.message.content == ANSWER
    assert response.done_reason == "stop"
    assert response.eval_count > 5
    assert response.total_duration > response.eval_duration > 0


@pytest.mark.compat("POST /api/chat", "streaming, by ollama-python", "same")
def test_chat_streams():
    chunks = list(ollama.chat(MODEL, MESSAGES, options=EXACT, stream=True))
    assert len(chunks) > 5
    assert "".join(chunk.message.content for chunk in chunks) == ANSWER
    assert chunks[-1].done


@pytest.mark.compat("POST /api/generate", "generate, by ollama-python", "same")
def test_generate():
    response = ollama.generate(MODEL, QUESTION, options=EXACT)
    assert response.response == ANSWER
    more = ollama.generate(MODEL, "And of Italy?", context=response.context, options=EXACT)
    assert more.prompt_eval_count > response.prompt_eval_count
    chunks = list(ollama.generate(MODEL, QUESTION, options=EXACT, stream=True))
    assert "".join(chunk.response for chunk in chunks) == ANSWER


@pytest.mark.compat("POST /api/generate", "loading with an empty prompt", "same")
def test_load():
    assert ollama.generate(MODEL, "").done_reason == "load"


@pytest.mark.compat("POST /api/chat", "format: a JSON schema", "same")
def test_format():
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "inhabitants": {"type": "integer"}},
        "required": ["city", "inhabitants"],
    }
    response = ollama.chat(MODEL, MESSAGES, format=schema, options={"temperature": 0})
    found = json.loads(response.message.content)
    assert isinstance(found["city"], str)
    assert type(found["inhabitants"]) is int


@pytest.mark.compat("POST /api/chat", "logprobs, by ollama-python", "same")
def test_logprobs():
    response = ollama.chat(MODEL, MESSAGES, options=EXACT, logprobs=True, top_logprobs=2)
    assert "".join(token.token for token in response.logprobs).startswith(ANSWER)
    assert all(token.logprob <= 0 for token in response.logprobs)
    assert all(len(token.top_logprobs) == 2 for token in response.logprobs)


@pytest.mark.compat("POST /api/embed", "embed, by ollama-python", "same")
def test_embed():
    response = ollama.embed(EMBEDDER, ["a cat", "a kitten", "an invoice"])
    cat, kitten, invoice = response.embeddings
    assert len(cat) == 384
    assert dot(cat, cat) == pytest.approx(1, abs=1e-3)
    assert dot(cat, kitten) > dot(cat, invoice)


@pytest.mark.compat("POST /api/embeddings", "embeddings, by ollama-python", "same")
def test_embeddings():
    assert len(ollama.embeddings(EMBEDDER, "a cat").embedding) == 384


def dot(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


@pytest.mark.compat("POST /api/copy", "copy, by ollama-python", "same")
@pytest.mark.compat("DELETE /api/delete", "delete, by ollama-python", "same")
def test_copy_and_delete():
    assert ollama.copy(MODEL, "other:1").status == "success"
    assert "other:1" in {model.model for model in ollama.list().models}
    assert ollama.delete("other:1").status == "success"
    with pytest.raises(ollama.ResponseError) as caught:
        ollama.show("other:1")
    assert caught.value.status_code == 404


@pytest.mark.compat("POST /api/create", "create from a model, by ollama-python", "same")
def test_create():
    lines = list(
        ollama.create(
            "pirate",
            from_=MODEL,
            system="You are a pirate.",
            parameters={"temperature": 0, "num_predict": 8},
            stream=True,
        )
    )
    assert lines[-1].status == "success"
    try:
        assert "You are a pirate." in ollama.show("pirate").modelfile
        assert ollama.chat("pirate", MESSAGES).eval_count <= 8
    finally:
        ollama.delete("pirate")


@pytest.mark.compat("POST /api/blobs/:digest", "upload, by ollama-python", "same")
def test_create_blob(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"not a model")
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert ollama._client.create_blob(path) == digest
    with pytest.raises(ollama.ResponseError) as caught:
        ollama.create("broken", files={"model.gguf": digest})
    assert caught.value.status_code in (-1, 400)


@pytest.mark.compat("GET /api/ps", "ps, by ollama-python", "same")
def test_ps():
    ollama.generate(MODEL, "")
    [model] = [model for model in ollama.ps().models if model.model == MODEL]
    assert model.size > 0
    assert model.expires_at is not None


@pytest.mark.compat("POST /api/pull", "pull of what is there, by ollama-python", "same")
def test_pull():
    assert ollama.pull(MODEL).status == "success"
    assert [line.status for line in ollama.pull(MODEL, stream=True)][-1] == "success"


@pytest.mark.compat("POST /api/push", "push", "not supported", "501 in words")
def test_push_is_refused_in_words():
    with pytest.raises(ollama.ResponseError) as caught:
        ollama.push(MODEL)
    assert caught.value.status_code == 501
    assert "push" in caught.value.error


@pytest.mark.compat("POST /api/chat", "an unknown model, by ollama-python", "same")
def test_an_unknown_model():
    with pytest.raises(ollama.ResponseError) as caught:
        ollama.chat("nobody", MESSAGES)
    assert caught.value.status_code == 404
    assert caught.value.error.startswith("model 'nobody' not found")


@pytest.mark.compat("every route", "keys, by ollama-python", "better", "Ollama has none")
def test_without_a_key_nothing_answers(host):
    for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": "token wrong"}):
        with pytest.raises(ollama.ResponseError) as caught:
            ollama.Client(host, headers=headers).list()
        assert caught.value.status_code == 401
        assert "OLLAMA_API_KEY" in caught.value.error


@pytest.mark.compat("POST /api/chat", "the asynchronous client", "same")
def test_the_asynchronous_client(copied):
    async def work():
        client = ollama.AsyncClient()
        names = {model.model for model in (await client.list()).models}
        response = await client.chat(MODEL, MESSAGES, options=EXACT)
        stream = await client.chat(MODEL, MESSAGES, options=EXACT, stream=True)
        pieces = [chunk.message.content async for chunk in stream]
        vectors = (await client.embed(EMBEDDER, "a cat")).embeddings
        shown = await client.show(copied)
        running = (await client.ps()).models
        return names, response.message.content, "".join(pieces), vectors, shown, running

    names, whole, streamed, vectors, shown, running = asyncio.run(work())
    assert {MODEL, copied} <= names
    assert whole == streamed == ANSWER
    assert len(vectors[0]) == 384
    assert shown.details.family == "llama"
    assert running


@pytest.mark.compat("POST /api/chat", "a client that leaves frees its slot", "same")
def test_a_client_that_leaves():
    for _ in range(6):
        stream = ollama.chat(MODEL, MESSAGES, options={"num_predict": 400}, stream=True)
        next(iter(stream))
        stream.close()
    assert ollama.chat(MODEL, MESSAGES, options=EXACT).message.content == ANSWER
