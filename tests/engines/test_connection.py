"""A connection to an engine, against a peer that writes, waits or leaves."""

import asyncio
import contextlib
import os

import pytest

from hyperllama_nb.engines.connection import MOST_AHEAD, Connection


@pytest.fixture
def path(own_place):
    return own_place / "s"


def with_peer(path, behave, use):
    """Run `use(connection)` against a peer that runs `behave(reader, writer)`."""

    async def run():
        async def answer(reader, writer):
            with contextlib.suppress(ConnectionError):
                await behave(reader, writer)
            writer.close()

        async with await asyncio.start_unix_server(answer, path):
            connection = await Connection.open(path)
            try:
                return await asyncio.wait_for(use(connection), 20)
            finally:
                connection.cut()

    return asyncio.run(run())


async def everything(connection):
    data = b""
    while piece := await connection.read():
        data += piece
    return data


def test_what_arrives_is_read_in_order_and_the_end_is_empty(path):
    async def behave(reader, writer):
        for piece in (b"a", b"bc", b"d"):
            writer.write(piece)
            await asyncio.sleep(0.01)

    async def use(connection):
        assert await everything(connection) == b"abcd"
        return await connection.read()

    assert with_peer(path, behave, use) == b""


def test_what_is_put_back_comes_first_also_after_the_end(path):
    async def behave(reader, writer):
        writer.write(b"abc")

    async def use(connection):
        data = await everything(connection)
        connection.unread(data[1:])
        return await connection.read(), await connection.read()

    assert with_peer(path, behave, use) == (b"bc", b"")


def test_a_peer_that_writes_more_than_is_read_has_to_wait(path):
    sent = 0
    whole = 64 * MOST_AHEAD

    async def behave(reader, writer):
        nonlocal sent
        while sent < whole:
            writer.write(b"x" * MOST_AHEAD)
            await writer.drain()
            sent += MOST_AHEAD

    async def use(connection):
        before = -1
        while before < sent:
            before = sent
            await asyncio.sleep(0.2)
        held = sent
        return held, len(await everything(connection))

    held, read = with_peer(path, behave, use)
    assert held < whole
    assert read == whole


def test_a_reset_is_an_end_like_any_other(path):
    async def behave(reader, writer):
        writer.write(b"a")
        await reader.readexactly(1)
        writer.transport.abort()

    async def use(connection):
        first = await connection.read()
        connection.write(b"?" * 10)
        return first, await connection.read()

    assert with_peer(path, behave, use) == (b"a", b"")


def test_a_cut_reaches_the_peer_though_a_child_holds_the_connection(path):
    ended = asyncio.Event()

    async def behave(reader, writer):
        assert await reader.read() == b""
        ended.set()

    async def use(connection):
        socket = connection._transport.get_extra_info("socket")
        held = os.dup(socket.fileno())
        try:
            connection.cut()
            await ended.wait()
        finally:
            os.close(held)

    with_peer(path, behave, use)


def test_nobody_there_is_an_error_of_the_system(path):
    with pytest.raises(OSError):
        asyncio.run(Connection.open(path))
