"""Embeddings over the wire, against engines that send given bytes, and FakeEngine."""

import asyncio
import contextlib
import json
import math

import pytest

from hyperllama_nb.engines.embeddings import embed
from hyperllama_nb.engines.openai import Wire
from hyperllama_nb.errors import BusyError, EngineDiedError, EngineError, RequestError
from hyperllama_nb.testing import FakeEngine, Script, fake_vector
from tests.engines.scripted import engine, plain


@pytest.fixture
def path(own_place):
    return own_place / "s"


def rows(*vectors, **first):
    data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
    data[:1] = [{**row, **first} for row in data[:1]]
    return {"object": "list", "data": data}


def collect(path, answer, texts=((1, 2), (3,))):
    """Return the vectors of the texts, and what the engine was asked."""

    async def run():
        async with engine(path, [answer]) as seen:
            return await embed(Wire(path), "m", texts), seen.requests

    return asyncio.run(asyncio.wait_for(run(), 30))


def test_token_ids_go_and_vectors_come(path):
    vectors, [(line, body)] = collect(path, plain(200, rows([1, 2.5], [3, 4])))
    assert vectors == [[1, 2.5], [3, 4]]
    assert line == "POST /v1/embeddings HTTP/1.1"
    assert body == {"model": "m", "input": [[1, 2], [3]]}


def test_vectors_are_put_in_order_by_their_index(path):
    answer = {"data": [{"index": 1, "embedding": [1]}, {"index": 0, "embedding": [2]}]}
    assert collect(path, plain(200, answer))[0] == [[2], [1]]
    answer = {"data": [{"embedding": [1]}, {"embedding": [2]}]}
    assert collect(path, plain(200, answer))[0] == [[1], [2]]


@pytest.mark.parametrize(
    "answer",
    [
        rows([1]),
        rows([1], [2], [3]),
        rows([1], [2, 3]),
        rows([], []),
        rows([1], "no"),
        rows([1], [2], index=1),
        rows([1], [2], index=7),
        {"data": [1, 2]},
        {"data": None},
        {},
    ],
)
def test_anything_but_a_vector_for_each_text_is_an_error(path, answer):
    with pytest.raises(EngineError, match="embeddings"):
        collect(path, plain(200, answer))


@pytest.mark.parametrize("number", [None, math.nan, math.inf])
def test_what_is_no_number_is_told(path, number):
    with pytest.raises(RequestError, match="embedding contains NaN or Inf values"):
        collect(path, plain(200, rows([1, 2], [3, number])))


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (plain(500, {"error": {"message": "Internal server error."}}), EngineError, "status 500"),
        (plain(400, {"error": {"message": "Value error."}}), RequestError, "Value error"),
        (plain(429, {}), BusyError, "full"),
        (plain(200, rows([1], [2]))[:-9], EngineDiedError, "broke off"),
        (plain(200, b""), EngineError, "no JSON object"),
        (plain(200, b"[1]"), EngineError, "no JSON object"),
        (plain(200, {"error": {"message": "It failed."}}), EngineError, "It failed"),
    ],
)
def test_failures_become_errors_in_words(path, answer, kind, words):
    with pytest.raises(EngineError if kind is EngineError else kind, match=words) as raised:
        collect(path, answer)
    assert type(raised.value) is kind


def test_cancelling_closes_the_connection_at_once(path):
    async def run():
        async with engine(path, [], hold=True) as seen:
            task = asyncio.create_task(embed(Wire(path), "m", [[1]]))
            await asyncio.wait_for(seen.asked.wait(), 10)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await asyncio.wait_for(seen.cut.wait(), 10)

    asyncio.run(run())


def test_ready_asks_for_one_real_embedding(path):
    async def run():
        async with engine(path, [plain(200, rows([0, 0]))]) as seen:
            await Wire(path).ready("m", "embed")
            return seen.requests

    [(line, body)] = asyncio.run(run())
    assert "/v1/embeddings" in line
    assert len(body["input"]) == 1


def test_a_fake_engine_embeds_as_max_does():
    async def run(texts, **script):
        async with FakeEngine(Script(width=4, **script)) as fake:
            return await embed(Wire(fake.socket), "tiny", texts), fake.requests

    vectors, [request] = asyncio.run(run([[1, 2], [1, 2, 1, 2]]))
    assert vectors[0] == fake_vector([1, 2], 4)
    assert vectors[1] == pytest.approx([2 * value for value in vectors[0]])
    assert (request.prompt, request.sent, request.done) == ([[1, 2], [1, 2, 1, 2]], 2, True)
    with pytest.raises(EngineError, match="status 500"):
        asyncio.run(run([[]]))
    with pytest.raises(EngineError, match="status 500: Lost"):
        asyncio.run(run([[1], [2]], error_after=1, error="Lost"))
    with pytest.raises(EngineDiedError):
        asyncio.run(run([[1], [2]], die_after=1))
    with pytest.raises(RequestError, match="NaN"):
        asyncio.run(run([[1], [2]], poison=2))


def test_a_fake_engine_takes_texts_and_refuses_what_max_does():
    async def run(**fields):
        async with FakeEngine(Script()) as fake:
            body = {"model": "tiny", **fields}
            answer = await Wire(fake.socket).ask("/v1/embeddings", json.dumps(body).encode())
            return [row["embedding"] for row in answer["data"]]

    assert asyncio.run(run(input="ab")) == asyncio.run(run(input=[97, 98]))
    assert len(asyncio.run(run(input=["a", "b"]))) == 2
    with pytest.raises(RequestError, match="Extra inputs"):
        asyncio.run(run(input="a", truncate=True))
    with pytest.raises(RequestError, match="Value error"):
        asyncio.run(run(input="a", model="other"))
