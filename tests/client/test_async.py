"""The asynchronous client against a service that answers from scripts."""

import asyncio
import time

import pytest

from hyperllama_nb.client import AsyncClient
from hyperllama_nb.errors import BusyError, EngineDiedError, PullError, ServiceError
from tests.client.fakeservice import BreakOffError, messages, words

GENERATE = "POST /api/generate"


def test_a_finished_response(service):
    service.routes[GENERATE] = lambda body: [{"status": "loading"}, *words("a", "b")]
    service.routes["POST /api/chat"] = lambda body: messages("c", "d")

    async def both():
        client = AsyncClient()
        return await asyncio.gather(client.generate("m", "?"), client.chat("m", []))

    generated, chatted = asyncio.run(both())
    assert generated.text == "ab"
    assert chatted.message.content == "cd"
    assert service.headers(GENERATE)["x-hyperllama-lease"] == "lease-0"


def test_a_stream(service):
    service.routes[GENERATE] = lambda body: [{"status": "loading"}, *words("a", "b")]

    async def read():
        stream = await AsyncClient().generate("m", "?", stream=True)
        return [chunk.response async for chunk in stream], stream.response.text

    assert asyncio.run(read()) == (["a", "b", ""], "ab")


@pytest.mark.parametrize("how", ["close", "cancel"])
def test_leaving_a_stream_closes_the_connection(service, how):
    def forever(body):
        while True:
            yield from words("x")[:1]
            time.sleep(0.005)

    service.routes[GENERATE] = forever

    async def read():
        async with await AsyncClient().generate("m", "?", stream=True) as stream:
            async for _ in stream:
                if how == "close":
                    return

    async def cancelled():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read(), 0.3)

    asyncio.run(read() if how == "close" else cancelled())
    assert service.gone.wait(10)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda body: (503, [{"error": "full", "code": "busy"}]), BusyError),
        (lambda body: [*words("a")[:1], {"error": "full", "code": "busy"}], BusyError),
        (lambda body: words("a")[:1], EngineDiedError),
    ],
)
def test_errors_have_their_class(service, answer, kind):
    service.routes[GENERATE] = answer
    with pytest.raises(kind):
        asyncio.run(AsyncClient().generate("m", "?"))


def test_a_connection_that_breaks(service):
    def answer(body):
        yield from words("a")[:1]
        raise BreakOffError

    service.routes[GENERATE] = answer
    with pytest.raises(ServiceError, match="hyperllama logs"):
        asyncio.run(AsyncClient().generate("m", "?"))


def test_the_other_methods(service):
    engine = {"model": "m", "state": "ready"}
    service.routes |= {
        "GET /api/tags": lambda body: [{"models": []}],
        "POST /api/show": lambda body: [{"details": {}}],
        "GET /api/ps": lambda body: [{"models": []}],
        "POST /api/copy": lambda body: [],
        "DELETE /api/delete": lambda body: [],
        "GET /api/version": lambda body: [{"version": "0.9"}],
        "POST /admin/load": lambda body: [{"status": "ready", "engine": engine}],
        "POST /admin/unload": lambda body: [{"status": "unloaded"}],
        "GET /admin/status": lambda body: [{"engines": []}],
        "POST /admin/stop": lambda body: [{"status": "stopping"}],
        "GET /admin/logs?lines=100": lambda body: [b"log"],
        "POST /api/pull": lambda body: [{"status": "x"}, {"status": "success"}],
    }

    async def all_of_them():
        async with AsyncClient() as client:
            assert (await client.list()).models == []
            assert (await client.show("m")).details == {}
            assert (await client.ps()).models == []
            assert (await client.copy("a", "b")).status == "success"
            assert (await client.delete("a")).status == "success"
            assert await client.version() == "0.9"
            assert (await client.load("m")).state == "ready"
            assert (await client.unload("m")).status == "unloaded"
            assert (await client.status()).engines == []
            assert await client.logs() == "log"
            assert (await client.pull("m")).status == "success"
            lines = [line.status async for line in await client.pull("m", stream=True)]
            assert lines == ["x", "success"]
            await client.pull("m", quantize="q4_0")
            assert service.bodies("POST /api/pull")[-1]["quantize"] == "q4_0"
            service.routes["POST /api/pull"] = lambda body: [{"status": "x"}]
            with pytest.raises(PullError):
                await client.pull("m")
            assert (await client.stop()).status == "stopping"

    asyncio.run(all_of_them())
