"""FakeEngine, spoken to through the engines' own wire, and the tiny model."""

import asyncio
import json
import signal
import socket as socketlib
import subprocess
import sys
import time

import pytest

from hyperllama_nb.engines.events import Event
from hyperllama_nb.engines.openai import Wire, sampling
from hyperllama_nb.errors import BusyError, EngineDiedError, EngineError, RequestError
from hyperllama_nb.models import Store
from hyperllama_nb.testing import FakeBackend, FakeEngine, Script, tiny_model

PARAMS = {"model": "tiny"}
TEXTS = ["Größe", " ", "世", "界", "👍🏽", "\u0085\u2028", "\n"]
LONG = 30.0
"""Seconds that a test waits for what takes milliseconds."""


async def events_of(engine, **params):
    return [event async for event in Wire(engine.socket).stream([1, 2, 3], {**PARAMS, **params})]


def ask(script, **params):
    """Return what one request to an engine with this script yields, and the engine."""

    async def main():
        async with FakeEngine(script) as engine:
            return await events_of(engine, **params), engine

    return asyncio.run(main())


def text_of(events):
    return "".join(event.text for event in events)


def test_each_piece_is_an_event_and_the_counts_come_last():
    events, engine = ask(Script(pieces=TEXTS))
    assert [event.text for event in events[:-1]] == TEXTS
    assert events[-1] == Event("", "stop", 3, len(TEXTS), 0)
    request = engine.requests[0]
    assert request.prompt == [1, 2, 3]
    assert (request.sent, request.done, request.cancelled_at) == (len(TEXTS), True, None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"bundle": 3},
        {"split": 1},
        {"split": 7, "bundle": 2},
        {"halves": True},
        {"delay": 0.002, "delay_first": 0.01},
    ],
)
def test_the_same_text_comes_in_other_chunks(changes):
    events, _ = ask(Script(pieces=TEXTS, **changes))
    assert text_of(events) == "".join(TEXTS)
    assert events[-1].output_tokens == len(TEXTS)


def test_half_characters_come_as_empty_chunks():
    events, _ = ask(Script(pieces=["世", "界"], halves=True))
    assert [event.text for event in events] == ["", "世", "", "界", ""]


def test_max_tokens_ends_the_answer_by_length():
    events, _ = ask(Script(pieces=["a"], repeat=1000), max_tokens=5)
    assert text_of(events) == "aaaaa"
    assert (events[-1].reason, events[-1].output_tokens) == ("length", 5)


def test_a_stop_string_is_sent_as_max_sends_it():
    events, _ = ask(Script(pieces=["a", "<e", "nd>", "b"]), stop=["<end>"])
    assert text_of(events) == "a<end>"
    assert events[-1].reason == "stop"


def test_usage_may_be_missing():
    events, _ = ask(Script(usage=False))
    assert events[-1] == Event("", "stop")


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (Script(status=429), BusyError),
        (Script(status=500), EngineError),
        (Script(status=400, error="Bad."), RequestError),
        (Script(ready=False), EngineError),
        (Script(die_after=0), EngineDiedError),
        (Script(die_after=2), EngineDiedError),
        (Script(die_after=7), EngineDiedError),
        (Script(error_after=2), EngineError),
    ],
)
def test_failures_reach_the_reader_as_errors(script, error):
    with pytest.raises(error):
        ask(script)


async def drain(stream, seen):
    async for event in stream:
        seen.append(event.text)


def test_text_before_a_death_arrives():
    async def main():
        seen = []
        async with FakeEngine(Script(pieces=["a", "b", "c"], die_after=2)) as engine:
            with pytest.raises(EngineDiedError):
                await drain(Wire(engine.socket).stream([1], PARAMS), seen)
            assert engine.died.is_set()
        return seen

    assert asyncio.run(main()) == ["a", "b"]


@pytest.mark.parametrize(
    "params",
    [{"num_ctx": 5}, {"model": "other"}, {"temperature": 2.1}, {"top_p": 2}],
)
def test_what_max_refuses_is_refused(params):
    with pytest.raises(RequestError):
        ask(Script(), **params)


def test_what_the_engines_send_is_accepted():
    events, _ = ask(Script(), **sampling({"stop": ["x"], "seed": 0, "temperature": 9}))
    assert text_of(events) == "The capital of France is Paris."


async def until(condition):
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("script", [Script(stall_after=2), Script(repeat=10**6, delay=0.001)])
def test_a_reader_that_leaves_is_recorded(script):
    async def main():
        async with FakeEngine(script) as engine:
            stream = Wire(engine.socket).stream([1], PARAMS)
            await anext(stream)
            await anext(stream)
            await stream.aclose()
            await until(lambda: engine.requests[0].cancelled_at is not None)
            assert engine.requests[0].cancelled_at >= 2
            # The next request is served.
            engine.script = Script()
            assert text_of(await events_of(engine)).endswith("Paris.")

    asyncio.run(main())


def test_a_reader_that_leaves_before_the_first_token_is_recorded():
    async def main():
        async with FakeEngine(Script(delay_first=60)) as engine:
            task = asyncio.ensure_future(events_of(engine))
            await until(lambda: engine.requests)
            task.cancel()
            await until(lambda: engine.requests[0].cancelled_at == 0)

    asyncio.run(main())


def test_slots_bound_what_runs_at_once():
    async def main():
        async with FakeEngine(Script(slots=1, stall_after=1)) as engine:
            first = Wire(engine.socket).stream([1], PARAMS)
            await anext(first)
            second = asyncio.ensure_future(events_of(engine))
            await until(lambda: len(engine.requests) == 2)
            await asyncio.sleep(0.02)
            assert engine.requests[1].sent == 0
            await first.aclose()
            await until(lambda: engine.requests[1].sent == 1)
            second.cancel()

    asyncio.run(main())


def test_warmup_answers_the_first_requests_whatever_the_script_says():
    async def main():
        async with FakeEngine(Script(die_after=0, warmup=1)) as engine:
            await Wire(engine.socket).ready("tiny")
            with pytest.raises(EngineDiedError):
                await events_of(engine)

    asyncio.run(main())


def test_health_metrics_and_unknown_paths():
    async def main():
        async with FakeEngine() as engine:
            wire = Wire(engine.socket)
            assert await wire.health()
            await events_of(engine)
            metrics = await wire.metrics()
            assert "maxserve_num_requests_running 0.0" in metrics
            assert "maxserve_num_output_tokens_total 7.0" in metrics
        assert not await wire.health()
        assert not engine.socket.exists()

    asyncio.run(main())


def test_one_connection_carries_several_requests():
    async def main():
        async with FakeEngine() as engine:
            reader, writer = await asyncio.open_unix_connection(engine.socket)
            for _ in range(3):
                body = json.dumps({"model": "tiny", "prompt": "Hi"}).encode()
                head = f"POST /v1/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                answer = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(answer.split("content-length: ")[1].split("\r\n")[0])
                reply = json.loads(await reader.readexactly(length))
                assert reply["choices"][0]["text"] == "The capital of France is Paris."
                assert reply["usage"]["completion_tokens"] == 7
            writer.close()

    asyncio.run(main())


def test_a_script_survives_json():
    script = Script(pieces=["é"], die_after=3, log=[])
    assert Script.from_json(script.to_json()) == script
    with pytest.raises(ValueError, match="no field typo"):
        Script.from_json('{"typo": 1}')


def launch(socket, script):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "hyperllama_nb.testing"),
            *("--socket", str(socket), "--script", script.to_json()),
        ],
        stderr=subprocess.PIPE,
    )


def wait_for(path):
    deadline = time.monotonic() + LONG
    while True:
        # A socket has a name before it listens.
        with socketlib.socket(socketlib.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                return
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_as_a_process_it_dies_with_its_script(own_place):
    socket = own_place / "s"
    with launch(socket, Script(die_after=1)) as process:
        wait_for(socket)
        with pytest.raises(EngineDiedError):
            asyncio.run(_read(socket))
        assert process.wait(LONG) == 1
        assert b"Server ready" in process.stderr.read()


async def _read(socket):
    return [event async for event in Wire(socket).stream([1], PARAMS)]


def test_as_a_process_it_ends_on_sigterm_unless_it_is_stubborn(own_place):
    polite, stubborn = own_place / "p", own_place / "s"
    processes = [launch(polite, Script()), launch(stubborn, Script(stubborn=True))]
    wait_for(polite)
    wait_for(stubborn)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    assert processes[0].wait(LONG) == 143
    time.sleep(0.1)
    assert processes[1].poll() is None
    processes[1].kill()
    processes[1].wait(LONG)
    for process in processes:
        process.stderr.close()


def test_as_a_process_it_crashes_at_its_start(own_place):
    with launch(own_place / "s", Script(crash=3, log=["last words"])) as process:
        assert process.wait(LONG) == 3
        assert process.stderr.read() == b"last words\n"
    assert not (own_place / "s").exists()


def test_the_store_takes_the_tiny_model(tmp_path):
    store = Store(tmp_path / "models")
    lines = []
    source = tiny_model(tmp_path / "tiny")
    manifest = store.pull(f"file:{source}", name="tiny", progress=lines.append)
    assert manifest.architecture == "LlamaForCausalLM"
    assert manifest.context_length == 8192
    assert "completion" in manifest.capabilities
    assert (store.view(manifest) / "tokenizer.json").exists()
    assert lines


def test_the_backend_hands_out_scripts_launch_by_launch():
    backend = FakeBackend([Script(die_after=2), Script()])
    assert backend.available().path.exists()
    assert backend.phase("x INFO: Compiling model took 3 seconds").name == "initialise"
    assert backend.phase("nothing") is None
    assert "status 3" in backend.explain(["last"], 3)
