"""Answers that outgrow their context."""

import asyncio

from hyperllama_nb.engines.events import Event
from hyperllama_nb.service.shift import shifting


class Engine:
    """Makes a letter a token, up to a number of them, and remembers what it was asked."""

    def __init__(self, ends_after):
        self.left = ends_after
        self.asked = []

    async def complete(self, ids, params):
        self.asked.append((list(ids), params["max_tokens"]))
        made = min(self.left, params["max_tokens"])
        self.left -= made
        for _ in range(made):
            yield Event("a")
        reason = "stop" if self.left == 0 and made < params["max_tokens"] else "length"
        yield Event("", reason, prompt_tokens=len(ids), output_tokens=made)


def run(engine, *, wanted, context=16, prompt=range(8), keep=2):
    dropped = []

    async def collect():
        events = shifting(
            engine.complete,
            list(prompt),
            {"seed": 1},
            wanted=wanted,
            context=context,
            keep=keep,
            encode=lambda text: [97] * len(text),
            dropped=dropped.append,
        )
        return [event async for event in events]

    *pieces, last = asyncio.run(collect())
    assert all(event.reason is None for event in pieces)
    return "".join(event.text for event in pieces), last, sum(dropped)


def test_an_answer_goes_on_past_the_context():
    engine = Engine(1000)
    text, last, dropped = run(engine, wanted=30)
    assert text == "a" * 30
    assert (last.reason, last.output_tokens, last.prompt_tokens) == ("length", 30, 8)
    assert dropped > 0
    for ids, limit in engine.asked:
        assert len(ids) + limit <= 16
        assert ids[:2] == [0, 1]


def test_an_answer_that_ends_by_itself_drops_nothing():
    engine = Engine(5)
    text, last, dropped = run(engine, wanted=100)
    assert (text, last.reason, last.output_tokens, dropped) == ("aaaaa", "stop", 5, 0)
    assert len(engine.asked) == 1


def test_keeping_everything_still_makes_room():
    _, last, _ = run(Engine(1000), wanted=40, keep=-1)
    assert last.output_tokens == 40
    _, last, _ = run(Engine(1000), wanted=40, keep=100)
    assert last.output_tokens == 40
