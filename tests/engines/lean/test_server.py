"""The engine over its socket: our own client, and clients that mean no good."""

import asyncio
import contextlib
import json
import socket
import stat
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from hyperllama_nb.engines.events import Event
from hyperllama_nb.engines.openai import Wire
from hyperllama_nb.errors import BusyError, EngineError, PromptTooLongError, RequestError
from tests.engines.lean.conftest import PATIENCE, serving
from tests.engines.lean.fake import FakeModel

Serve = Callable[..., Path]
ASKED: dict[str, Any] = {"model": "fake", "temperature": 0, "ignore_eos": True}


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(int(PATIENCE * 100)):
        if await true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not become true")


async def ready(wire: Wire) -> Wire:
    await until(wire.health)
    return wire


async def collect(wire: Wire, ids: list[int], **params: Any) -> list[Event]:
    return [event async for event in wire.stream(ids, {**ASKED, **params})]


def text(events: list[Event]) -> str:
    return "".join(event.text for event in events)


def raw(path: Path, data: bytes, *, half: bool = False) -> bytes:
    """Return all that comes back."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        with contextlib.suppress(BrokenPipeError):
            client.sendall(data)
        if half:
            client.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(65536):
                answer += piece
        return answer


def post(body: Any, path: str = "/v1/completions") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"POST %b HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(data), data)


async def test_streams_pieces_and_counts(serve: Serve) -> None:
    wire = await ready(Wire(serve(FakeModel())))
    events = await collect(wire, [1, 2, 3], max_tokens=7)
    assert len(events) == 8
    last = events[-1]
    assert (last.reason, last.prompt_tokens, last.output_tokens) == ("length", 3, 7)
    assert last.cached_tokens == 0
    assert text(await collect(wire, [1, 2, 3], max_tokens=7)) == text(events)
    for cached in (0, 39):
        assert (await collect(wire, [1] * 40, max_tokens=1))[-1].cached_tokens == cached


async def test_a_whole_answer_is_what_is_streamed(serve: Serve) -> None:
    path = serve(FakeModel())
    wire = await ready(Wire(path))
    events = await collect(wire, [8, 9], max_tokens=9)
    body = {**ASKED, "prompt": [8, 9], "max_tokens": 9, "logprobs": 2}
    found = await wire.ask("/v1/completions", json.dumps(body).encode())
    choice = found["choices"][0]
    assert choice["text"] == text(events)
    assert choice["finish_reason"] == "length"
    assert len(choice["logprobs"]["tokens"]) == 9
    assert found["usage"]["completion_tokens"] == 9


async def test_log_probabilities(serve: Serve) -> None:
    wire = await ready(Wire(serve(FakeModel())))
    events = await collect(wire, [8, 9], max_tokens=5, logprobs=3)
    for event in events[:-1]:
        (told,) = event.logprobs
        assert told.logprob == max(chance for _, chance in told.top)
        assert len(told.top) <= 3
    for event in (await collect(wire, [8, 9], max_tokens=5, logprobs=0))[:-1]:
        assert event.logprobs[0].top == ()


async def test_a_prompt_in_text(serve: Serve) -> None:
    wire = await ready(Wire(serve(FakeModel())))
    body = json.dumps({**ASKED, "prompt": "abcde", "max_tokens": 1}).encode()
    assert (await wire.ask("/v1/completions", body))["usage"]["prompt_tokens"] == 5


async def test_streams_at_once_have_the_texts_that_they_have_alone(serve: Serve) -> None:
    wire = await ready(Wire(serve(FakeModel(slots=4))))
    prompts = [[number, 7] for number in range(1, 13)]
    alone = [text(await collect(wire, prompt, max_tokens=20)) for prompt in prompts]
    together = await asyncio.gather(*(collect(wire, one, max_tokens=20) for one in prompts))
    assert [text(events) for events in together] == alone


async def test_the_same_seed_writes_the_same_whoever_else_runs(serve: Serve) -> None:
    wire = await ready(Wire(serve(FakeModel(slots=4))))
    drawn = {"temperature": 1.2, "top_k": 40, "max_tokens": 20, "seed": 5}
    alone = text(await collect(wire, [3], **drawn))
    others = [collect(wire, [5], **{**drawn, "seed": seed}) for seed in range(1, 4)]
    first, *_ = await asyncio.gather(collect(wire, [3], **drawn), *others)
    assert text(first) == alone
    assert text(await collect(wire, [3], **{**drawn, "seed": 6})) != alone


async def test_a_full_queue_is_429(serve: Serve) -> None:
    model = FakeModel(slots=1, delay=0.01)
    wire = await ready(Wire(serve(model, "--max-queue", "1")))
    running = asyncio.create_task(collect(wire, [1], max_tokens=60))
    waiting = asyncio.create_task(collect(wire, [2], max_tokens=2))

    async def queued() -> bool:
        return "maxserve_num_requests_queued 1" in await wire.metrics()

    await until(queued)
    with pytest.raises(BusyError):
        await collect(wire, [3])
    assert (await running)[-1].output_tokens == 60
    assert (await waiting)[-1].output_tokens == 2


async def test_a_client_that_leaves_frees_its_slot(serve: Serve) -> None:
    model = FakeModel(slots=1, delay=0.005)
    wire = await ready(Wire(serve(model)))
    async with contextlib.aclosing(wire.stream([1], ASKED)) as events:
        async for _ in events:
            break
    async with asyncio.timeout(2):
        assert (await collect(wire, [2], max_tokens=2))[-1].reason == "length"
    assert 'request_count_total{code="499"' in await wire.metrics()


async def test_a_client_that_leaves_the_queue_is_never_served(serve: Serve) -> None:
    model = FakeModel(slots=1, delay=0.005)
    wire = await ready(Wire(serve(model)))
    running = asyncio.create_task(collect(wire, [1], max_tokens=40))
    await asyncio.sleep(0.05)
    left = asyncio.create_task(collect(wire, [200], max_tokens=40))
    await asyncio.sleep(0.05)
    left.cancel()
    await running
    await collect(wire, [3], max_tokens=1)
    assert model.cache[0][0] == 3
    assert len(model.steps) < 60


async def test_a_schema_is_followed_while_others_stream(serve: Serve) -> None:
    pytest.importorskip("llguidance")
    wire = await ready(Wire(serve(FakeModel(vocab=290, slots=2))))
    schema = {"type": "object", "properties": {"name": {"enum": ["the", "llama"]}}}
    strict = {**schema, "required": ["name"], "additionalProperties": False}
    other = asyncio.create_task(collect(wire, [1], max_tokens=100))
    events = await collect(wire, [2], schema=strict, ignore_eos=False)
    assert json.loads(text(events))["name"] in ("the", "llama")
    assert (await other)[-1].output_tokens == 100
    with pytest.raises(RequestError, match="Invalid type"):
        await collect(wire, [2], schema={"type": "foo"})


async def test_any_object_for_json(serve: Serve) -> None:
    pytest.importorskip("llguidance")
    wire = await ready(Wire(serve(FakeModel(vocab=290))))
    for schema in ("json", {}):
        drawn = {"temperature": 0.7, "seed": 3, "ignore_eos": False}
        events = await collect(wire, [2], schema=schema, **drawn)
        assert text(events).startswith("{")


async def test_a_step_that_fails_is_an_error_in_the_stream(serve: Serve) -> None:
    model = FakeModel(slots=1, delay=0.005)
    wire = await ready(Wire(serve(model)))

    async def break_it() -> None:
        async for _ in wire.stream([1], ASKED):
            model.failing = 1

    with pytest.raises(EngineError, match="the graph broke"):
        await break_it()
    assert (await collect(wire, [1], max_tokens=3))[-1].output_tokens == 3


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"top_k": -2}, "top_k"),
        ({"top_k": True}, "top_k"),
        ({"seed": -1}, "seed"),
        ({"logprobs": 21}, "logprobs"),
        ({"stop": [3]}, "stop"),
        ({"stop": ["x"] * 100}, "stop"),
        ({"schema": 3}, "schema"),
        ({"model": "other"}, "other"),
        ({"echo": True}, "Extra inputs"),
        ({"ignore_eos": 1}, "ignore_eos"),
        ({"stop_token_ids": [1000]}, "stop_token_ids"),
    ],
)
async def test_what_is_refused_is_refused_in_words(
    serve: Serve, params: dict[str, Any], words: str
) -> None:
    wire = await ready(Wire(serve(FakeModel())))
    with pytest.raises(RequestError, match=words):
        await collect(wire, [1], **params)


async def test_prompts_that_are_refused(serve: Serve) -> None:
    wire = await ready(Wire(serve(FakeModel(context=50))))
    with pytest.raises(PromptTooLongError, match="Prompt is too long: 50 tokens exceeds"):
        await collect(wire, [1] * 50)
    for wrong in ([300], [-1], [True], ["a"], [], [[1], [2]]):
        with pytest.raises(RequestError, match="prompt"):
            await collect(wire, wrong)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET /none HTTP/1.1\r\n\r\n", 404),
        (b"PUT /health HTTP/1.1\r\n\r\n", 405),
        (b"POST /health HTTP/1.1\r\n\r\n", 405),
        (b"GET /v1/completions HTTP/1.1\r\n\r\n", 405),
        (b"GET /health HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nA: 1\r\na: 2\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n folded: 1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nContent-Length: 1_0\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
        (b"POST /v1/completions HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n", 413),
        (b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"GET /health HTTP/1.1\r\nA: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"x" * 40_000, 431),
        (post(b"{"), 400),
        (post(b""), 400),
        (post(b"[" * 100_000), 400),
        (post(b"\xff\xfe"), 400),
        (post([1]), 400),
        (post({"prompt": {"a": 1}}), 400),
        (post({"prompt": "\ud800"}), 400),
        (post({"prompt": [1], "temperature": 1e999}), 400),
        (post({"prompt": [1], "max_tokens": 10**30}), 400),
    ],
)
async def test_hostile_requests_get_an_answer_and_harm_nobody(
    serve: Serve, data: bytes, status: int
) -> None:
    path = serve(FakeModel())
    wire = await ready(Wire(path))
    answer = await asyncio.to_thread(raw, path, data)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert body["error"]["code"] == str(status)
    assert (await collect(wire, [1], max_tokens=2))[-1].output_tokens == 2


async def test_half_a_request_is_dropped(serve: Serve) -> None:
    path = serve(FakeModel())
    wire = await ready(Wire(path))
    whole = post({**ASKED, "prompt": [1], "max_tokens": 3})
    for end in (0, 5, len(whole) - 1):
        assert await asyncio.to_thread(lambda cut=end: raw(path, whole[:cut], half=True)) == b""
    for place in (10, 40, len(whole) - 2):
        assert await asyncio.to_thread(_in_two, path, whole, place)
    assert (await collect(wire, [1], max_tokens=2))[-1].output_tokens == 2


def _in_two(path: Path, data: bytes, place: int) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        client.sendall(data[:place])
        time.sleep(0.02)
        client.sendall(data[place:])
        return client.recv(20).startswith(b"HTTP/1.1 200")


async def test_while_the_model_loads(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    from hyperllama_nb.engines.max.lean import main

    vocabulary = main.Vocabulary

    def slow(directory: Path) -> Any:
        gate.wait(PATIENCE)
        return vocabulary(directory)

    monkeypatch.setattr(main, "Vocabulary", slow)
    path = serve(FakeModel())
    wire = Wire(path)
    await until(wire.loading)
    with pytest.raises(EngineError, match="loaded"):
        await collect(wire, [1])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    gate.set()
    await ready(wire)


async def test_metrics_have_maxs_names(serve: Serve) -> None:
    wire = await ready(Wire(serve(FakeModel(slots=2, context=256))))
    await collect(wire, list(range(1, 30)), max_tokens=4)
    await collect(wire, list(range(1, 30)), max_tokens=4)
    found = dict(
        line.rsplit(" ", 1) for line in (await wire.metrics()).splitlines() if line[0] != "#"
    )
    assert found["maxserve_num_input_tokens_total"] == "58"
    assert found["maxserve_num_output_tokens_total"] == "8"
    assert found["maxserve_cache_hits_tokens_total"] == "28"
    assert found["maxserve_cache_misses_tokens_total"] == "30"
    assert found["maxserve_cache_num_total_blocks"] == "4"
    assert found["maxserve_cache_num_used_blocks"] == "1"
    assert found["maxserve_num_requests_running"] == "0"
    assert found["maxserve_time_to_first_token_milliseconds_count"] == "2"
    assert found["maxserve_itl_milliseconds_count"] == "6"
    assert found['maxserve_batch_size_count{batch_type="TG"}'] == "6"
    assert found['maxserve_request_count_total{code="200",path="/v1/completions"}'] == "2"


async def test_an_end_is_told_to_those_who_wait(directory: Path) -> None:
    begun = threading.Event()

    async def watch(path: Path) -> None:
        wire = await ready(Wire(path))
        async for _ in wire.stream([1], ASKED):
            begun.set()

    with serving(FakeModel(delay=0.02), directory) as path:
        task = asyncio.create_task(watch(path))
        await asyncio.to_thread(begun.wait, PATIENCE)
    with pytest.raises(EngineError, match="ending"):
        await task
    assert not path.exists()
