"""Our own client on a real service: what is new in the API has a method."""

import asyncio
import math

import pytest

from hyperllama_nb import AsyncClient, Client
from hyperllama_nb.errors import RequestError
from tests.service.hosting import hosting
from tests.service.test_embedding import install


@pytest.fixture(scope="module")
def running():
    with hosting("thread") as service:
        install(service.store)
        yield service


def test_texts_become_vectors(running):
    host = f"unix:{running.socket}"
    found = Client(host).embed("embedder", ["one", "two"], dimensions=4)
    one, two = found.embeddings
    assert len(one) == len(two) == 4
    assert one != two
    assert math.hypot(*one) == pytest.approx(1)
    same = asyncio.run(AsyncClient(host).embed("embedder", ("one", "two"), dimensions=4))
    assert same.embeddings == found.embeddings
    assert len(Client(host).embed("embedder", "one").embeddings) == 1
    cut = Client(host).embed("embedder", "one " * 99, options={"num_ctx": 16})
    assert cut.prompt_eval_count <= 16
    with pytest.raises(RequestError, match="the input length exceeds the context length"):
        Client(host).embed("embedder", "one " * 99, truncate=False)


def test_a_model_is_made_of_another(running):
    client = Client(f"unix:{running.socket}")
    parameters = {"temperature": 0, "stop": ["x"]}
    made = client.create("pirate", from_="tiny", system="Arr.", parameters=parameters)
    assert made.status == "success"
    assert client.show("pirate")["system"] == "Arr."
    lines = list(client.create("polite", None, "tiny", system="Please.", stream=True))
    assert lines[-1].status == "success"
    assert len(lines) > 1
    with pytest.raises(RequestError, match="neither 'from' or 'files' was specified"):
        client.create("nothing")


def test_a_model_is_made_of_another_without_blocking(running):
    async def work():
        client = AsyncClient(f"unix:{running.socket}")
        messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
        lines = await client.create("greeter", from_="tiny", messages=messages, stream=True)
        assert [line.status async for line in lines][-1] == "success"
        assert (await client.create("other", from_="greeter")).status == "success"
        return (await client.show("other"))["messages"]

    assert [turn["content"] for turn in asyncio.run(work())] == ["Hi", "Ho"]


def test_a_text_is_cut_into_tokens_without_an_engine(running):
    host = f"unix:{running.socket}"
    ids = Client(host).tokenize("tiny", "<|im_start|>Bern")
    assert ids == asyncio.run(AsyncClient(host).tokenize("tiny", "<|im_start|>Bern"))
    body = {"model": "tiny", "tokens": ids}
    assert running.client.post("/api/detokenize", json=body).json() == {
        "content": "<|im_start|>Bern"
    }
    assert Client(host).tokenize("tiny", "") == []
    assert running.engine() is None
