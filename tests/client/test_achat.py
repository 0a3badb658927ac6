"""Answers that a cell awaits."""

import asyncio
import time

import pytest
from pydantic import BaseModel

import hyperllama_nb as hl
from hyperllama_nb.errors import BusyError, InvalidAnswerError
from tests.client.fakeservice import messages

CHAT = "POST /api/chat"


class Town(BaseModel):
    name: str


def test_an_answer_is_shown_and_returned(service, capsys):
    service.routes[CHAT] = lambda body: messages("Hi", " you")
    response = asyncio.run(hl.achat("Hello", "m", system="Be kind.", options={"seed": 1}))
    assert response.text == "Hi you"
    assert service.bodies(CHAT) == [
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hello"},
            ],
            "options": {"seed": 1},
            "stream": True,
        }
    ]
    assert capsys.readouterr() == ("Hi you\n", "2 tokens\n")


def test_a_conversation_goes_on_without_being_shown(service, capsys):
    service.routes[CHAT] = lambda body: messages("A")
    before = [{"role": "user", "content": "x"}]
    asyncio.run(hl.achat(before, show=False, think=True, keep_alive="5m"))
    [body] = service.bodies(CHAT)
    assert body["messages"] == before
    assert (body["model"], body["think"], body["keep_alive"]) == ("smollm2:135m", True, "5m")
    assert capsys.readouterr() == ("", "")


def test_several_answers_grow_at_the_same_time(service):
    def answer(body):
        time.sleep(0.3)
        yield from messages(body["messages"][0]["content"])

    service.routes[CHAT] = answer

    async def several():
        begun = time.monotonic()
        found = await asyncio.gather(*(hl.achat(str(n), "m", show=False) for n in range(8)))
        return [one.text for one in found], time.monotonic() - begun

    texts, took = asyncio.run(several())
    assert texts == [str(n) for n in range(8)]
    assert took < 8 * 0.3


def test_the_loop_goes_on_while_an_answer_comes(service):
    def answer(body):
        time.sleep(0.5)
        yield from messages("A")

    service.routes[CHAT] = answer

    async def counted():
        task = asyncio.create_task(hl.achat("x", "m", show=False))
        count = 0
        while not task.done():
            count += 1
            await asyncio.sleep(0.01)
        return count

    assert asyncio.run(counted()) > 5


def test_a_task_that_is_cancelled_ends_the_answer_in_the_engine(service, capsys):
    def forever(body):
        while True:
            yield messages("x")[0]
            time.sleep(0.01)

    service.routes[CHAT] = forever

    async def cancelled():
        task = asyncio.create_task(hl.achat("x", "m"))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert service.gone.wait(10)
    shown = capsys.readouterr()
    assert set(shown.out) == {"x", "\n"}
    assert shown.err == "Interrupted.\n"


def test_a_class_is_a_form(service):
    service.routes[CHAT] = lambda body: messages('{"name": "Bern"}')
    response = asyncio.run(hl.achat("x", "m", format=Town, show=False))
    assert response.parsed == Town(name="Bern")
    assert service.bodies(CHAT)[0]["format"] == Town.model_json_schema()
    service.routes[CHAT] = lambda body: messages("Bern")
    with pytest.raises(InvalidAnswerError):
        asyncio.run(hl.achat("x", "m", format="json", show=False))


def test_errors_are_raised(service):
    service.routes[CHAT] = lambda body: (503, [{"error": "full", "code": "busy"}])
    with pytest.raises(BusyError):
        asyncio.run(hl.achat("x", "m"))
    service.routes[CHAT] = lambda body: [messages("a")[0], {"error": "full", "code": "busy"}]
    with pytest.raises(BusyError):
        asyncio.run(hl.achat("x", "m"))
