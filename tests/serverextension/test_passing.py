"""The door's HTTP towards the service, whatever the pieces in which an answer arrives."""

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders

from hyperllama_nb.serverextension.headers import without_secrets
from hyperllama_nb.serverextension.passing import BrokenError, Exchange, Head, _Content

pytestmark = pytest.mark.slow


def cut(data, places):
    """Return the data in pieces that end at these places."""
    marks = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(marks)]


places = st.lists(st.integers(0, 300), max_size=12)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), places)
def test_chunks_come_out_whole_however_they_are_cut(contents, cuts):
    framed = b"".join(b"%x;x=1\r\n%b\r\n" % (len(each), each) for each in contents)
    content = _Content(Head(200, "OK", HTTPHeaders({"Transfer-Encoding": "chunked"})), empty=False)
    pieces = cut(framed + b"0\r\n\r\n", cuts)
    assert b"".join(content.feed(piece) for piece in pieces) == b"".join(contents)
    assert content.done


@given(st.binary(min_size=1, max_size=80), places)
def test_a_part_of_a_chunk_does_not_wait_for_its_rest(data, cuts):
    content = _Content(Head(200, "OK", HTTPHeaders({"Transfer-Encoding": "chunked"})), empty=False)
    content.feed(b"%x\r\n" % len(data))
    for piece in cut(data, cuts):
        assert content.feed(piece) == piece
    assert not content.done


@pytest.mark.parametrize("framed", [b"zz\r\n", b"\r\n", b"5\r\nhello\r\nx\r\n"])
def test_what_is_no_chunk_is_refused(framed):
    content = _Content(Head(200, "OK", HTTPHeaders({"Transfer-Encoding": "chunked"})), empty=False)
    with pytest.raises(ValueError):
        content.feed(framed)


@asynccontextmanager
async def answering(own_place, answer):
    """Give an exchange with a server that sends these bytes and closes."""

    async def accept(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    path = own_place / "s"
    async with await asyncio.start_unix_server(accept, path):
        exchange = await Exchange.open(path)
        yield exchange
        exchange.close()


def passed(own_place, answer, method="GET"):
    """Return the head and the body of an answer as the door sees them."""

    async def run():
        async with answering(own_place, answer) as exchange:
            exchange.begin(method, "/", [])
            await exchange.end()
            head = await exchange.head()
            return head, [piece async for piece in exchange.pieces()]

    return asyncio.run(run())


def test_an_answer_without_a_length_ends_with_its_connection(own_place):
    head, pieces = passed(own_place, b"HTTP/1.0 200 Fine\r\nA: b\r\nA: c\r\n\r\nhello")
    assert (head.status, head.reason, b"".join(pieces)) == (200, "Fine", b"hello")
    assert head.headers.get_list("A") == ["b", "c"]


def test_an_interim_answer_is_no_answer(own_place):
    interim = b"HTTP/1.1 103 Early\r\nA: b\r\n\r\n"
    head, _ = passed(own_place, interim + b"HTTP/1.1 204 No Content\r\n\r\n")
    assert head.status == 204


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_some_answers_have_no_body(own_place, status):
    assert passed(own_place, b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n")[1] == []


def test_the_answer_to_head_has_no_body(own_place):
    head, pieces = passed(own_place, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD")
    assert head.headers["Content-Length"] == "5"
    assert pieces == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfive\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_told_from_one_that_ends(own_place, answer):
    with pytest.raises(BrokenError):
        passed(own_place, answer)


@given(st.lists(st.sampled_from(["a=1", "token=x", "b=%20", "to%6Ben=y", "_xsrf=z", "token", ""])))
def test_no_secret_argument_is_left(arguments):
    left = without_secrets("&".join(arguments)).split("&")
    kept = [argument for argument in arguments if argument in ("a=1", "b=%20", "")]
    assert left == (kept or [""])
