"""The wire to an engine, against engines that send given bytes."""

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperllama_nb.engines.events import Event
from hyperllama_nb.engines.openai import Wire
from hyperllama_nb.errors import (
    BusyError,
    EngineDiedError,
    EngineError,
    PromptTooLongError,
    RequestError,
)
from tests.engines.scripted import DONE, chunked, collect, engine, frame, plain, usage


@pytest.fixture
def path(own_place):
    return own_place / "s"


def texts(events):
    return [event.text for event in events[:-1]]


def test_a_stream_becomes_events_and_the_last_has_reason_and_counts(path):
    answer = chunked(frame("Par"), frame("is", "stop"), usage(7, 2, 4), DONE)
    assert collect(path, answer) == [Event("Par"), Event("is"), Event("", "stop", 7, 2, 4)]


def test_the_request_carries_ids_and_asks_for_usage(path):
    async def run():
        async with engine(path, [chunked(frame("a", "length"), DONE)]) as seen:
            async for _ in Wire(path).stream((1, 2), {"model": "m", "top_k": 3}):
                pass
            return seen.requests

    [(line, body)] = asyncio.run(run())
    assert line == "POST /v1/completions HTTP/1.1"
    assert body == {
        "model": "m",
        "top_k": 3,
        "prompt": [1, 2],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_missing_usage_gives_no_counts(path):
    events = collect(path, chunked(frame("a", "length"), DONE))
    assert events[-1] == Event("", "length", None, None, None)


def test_several_tokens_in_one_chunk_and_empty_pieces_pass_as_they_are(path):
    bundle = frame("a") + frame("") + frame("é", "stop")
    assert texts(collect(path, chunked(bundle, DONE))) == ["a", "", "é"]


def test_line_separators_inside_a_text_do_not_split_it(path):
    text = "a\u2028b\u0085c\r\x0b"
    assert texts(collect(path, chunked(frame(text, "stop"), DONE))) == [text]


def test_comments_and_crlf_between_frames_are_passed_over(path):
    part = b": ping\r\n\r\n" + frame("a", "stop").replace(b"\n\n", b"\r\n\r\n")
    assert texts(collect(path, chunked(part, DONE))) == ["a"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_cut_of_the_bytes_gives_the_same_events(tmp_path_factory, data):
    whole = chunked(frame("Pa"), frame("界") + frame(""), frame("!", "stop"), usage(3, 4), DONE)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=6)))
    ends = [*cuts, len(whole)]
    pieces = [whole[a:b] for a, b in zip([0, *cuts], ends, strict=True)]
    path = tmp_path_factory.mktemp("w") / "s"
    assert texts(collect(path, *pieces)) == ["Pa", "界", "", "!"]


def test_a_body_without_chunks_is_read_to_its_end(path):
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    assert texts(collect(path, head + frame("a", "stop"))) == ["a"]


@pytest.mark.parametrize(
    "answer",
    [
        chunked(frame("a"), end=False),
        chunked(frame("a")),
        chunked(frame("a", "stop"), end=False),
        chunked(frame("a"), end=False)[:-9],
        b"",
        b"HTTP/1.1 200",
        b"nonsense\r\n\r\n",
    ],
)
def test_a_broken_stream_is_the_death_of_the_engine(path, answer):
    with pytest.raises(EngineDiedError, match="Run it again"):
        collect(path, answer)


def test_the_text_before_a_break_arrives(path):
    async def run():
        async with engine(path, [chunked(frame("a"), end=False)]):
            stream = Wire(path).stream([1], {})
            assert (await anext(stream)).text == "a"
            with pytest.raises(EngineDiedError):
                await anext(stream)

    asyncio.run(run())


def test_an_error_in_the_stream_is_raised_with_its_message(path):
    error = b'data: {"error": {"code": "500", "message": "boom", "param": ""}}\n\n'
    with pytest.raises(EngineError, match=r"boom\."):
        collect(path, chunked(frame("a"), error))


def test_what_is_not_json_is_an_error_of_the_engine(path):
    with pytest.raises(EngineError, match="no JSON object"):
        collect(path, chunked(b"data: 7\n\n"))
    with pytest.raises(EngineError, match="not HTTP"):
        collect(path, chunked(frame("a"), end=False) + b"zz\r\n")


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, {"error": {"message": "Value error."}}, RequestError, "Value error"),
        (
            400,
            {"error": {"message": "Prompt is too long: 9 tokens exceeds 8."}},
            PromptTooLongError,
            "num_ctx",
        ),
        (422, {"detail": "no"}, RequestError, "no"),
        (413, b"too large", RequestError, "too large"),
        (429, {"error": {"message": "Server is at capacity"}}, BusyError, "full"),
        (500, b"Internal Server Error", EngineError, "Internal Server Error"),
        (404, b"", EngineError, "no reason given"),
    ],
)
def test_a_status_becomes_an_error_in_words(path, status, body, kind, words):
    with pytest.raises(EngineError if kind is EngineError else kind, match=words) as raised:
        collect(path, plain(status, body))
    assert type(raised.value) is kind


@pytest.mark.parametrize(("dies", "kind"), [(True, EngineDiedError), (False, BusyError)])
def test_a_dying_engine_that_says_busy_is_found_out(path, dies, kind):
    async def dying():
        return dies

    async def run():
        async with engine(path, [plain(429, {})]):
            async for _ in Wire(path, dying).stream([1], {}):
                pass

    with pytest.raises(kind):
        asyncio.run(run())


def test_nobody_there_is_an_engine_that_died(path):
    async def run():
        async for _ in Wire(path).stream([1], {}):
            pass

    with pytest.raises(EngineDiedError, match="does not answer"):
        asyncio.run(run())


def test_closing_the_generator_closes_the_connection_at_once(path):
    async def run():
        pieces = [chunked(frame("a"), end=False)]
        async with engine(path, pieces, hold=True) as seen:
            stream = Wire(path).stream([1], {})
            assert (await anext(stream)).text == "a"
            await stream.aclose()
            await asyncio.wait_for(seen.cut.wait(), 10)

    asyncio.run(run())


@pytest.mark.parametrize("pieces", [[], [chunked(frame("a"), end=False)]])
def test_cancelling_the_task_closes_the_connection_at_once(path, pieces):
    async def run():
        async with engine(path, pieces, hold=True) as seen:

            async def read():
                async for _ in Wire(path).stream([1], {}):
                    pass

            task = asyncio.create_task(read())
            await asyncio.wait_for(seen.asked.wait(), 10)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await asyncio.wait_for(seen.cut.wait(), 10)

    asyncio.run(run())


def test_ready_asks_for_one_real_token(path):
    async def run():
        async with engine(path, [chunked(frame("a", "length"), DONE)]) as seen:
            await Wire(path).ready("m")
            return seen.requests

    [(_, body)] = asyncio.run(run())
    assert body["max_tokens"] == 1
    assert body["model"] == "m"
    assert len(body["prompt"]) == 1


def test_health_and_metrics(path):
    async def run():
        assert not await Wire(path).health()
        async with engine(path, [plain(200, b"maxserve_x 1\nmaxserve_y 2", "text/plain")]):
            assert await Wire(path).health()
            return await Wire(path).metrics()

    assert asyncio.run(run()) == "maxserve_x 1\nmaxserve_y 2"


def test_metrics_that_are_missing_are_an_error(path):
    async def run():
        async with engine(path, [plain(404, {"detail": "Not Found"})]):
            await Wire(path).metrics()

    with pytest.raises(EngineError, match="Not Found"):
        asyncio.run(run())


def test_loopback_is_spoken_to_as_well():
    async def run():
        async def answer(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(chunked(frame("a", "stop"), DONE))
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            address = server.sockets[0].getsockname()
            return [event async for event in Wire(address).stream([1], {})]

    assert asyncio.run(run())[0].text == "a"
