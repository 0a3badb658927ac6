"""Engines without a process: each continues a text as a function says."""

import asyncio
import json
import random
from types import SimpleNamespace

from hyperllama_nb.engines.events import Event, TokenLogprob
from hyperllama_nb.service import structure


class Prompter:
    """One token is one byte, as in the tiny model."""

    def encode(self, text, special=True):
        return list(text.encode())

    def decode(self, ids):
        return bytes(ids).decode(errors="replace")


class Stub:
    """An engine that is asked like a running one; `write` makes chunks of the text before.

    With `cuts` it leaves the stop string out, as llama.cpp does; otherwise the chunk with it is
    the last one, as with MAX. `tops` gives the alternatives for the next token.
    """

    model = "stub:latest"

    def __init__(self, write, *, tops=None, able=(), cuts=False, endless=False):
        self.write, self.tops, self.cuts, self.endless = write, tops, cuts, endless
        self.asked = []
        self.open = 0
        able = frozenset({*able, *(["logprobs"] if tops else [])})
        self.backend = SimpleNamespace(
            name="stub", capabilities=lambda spec: able, most_logprobs=lambda spec: 7
        )
        self.spec = None
        self.prompter = Prompter()

    async def complete(self, ids, params):
        text = bytes(ids).decode()
        self.asked.append((text, params))
        self.open += 1
        made, count = "", 0
        try:
            for chunk in self.write(text):
                await asyncio.sleep(0)
                count += 1
                made += chunk
                found = [made.find(s) for s in params.get("stop", ()) if s in made]
                if found and self.cuts:
                    chunk = chunk[: len(chunk) - (len(made) - min(found))]
                yield Event(chunk, logprobs=self._told(text, params) if count == 1 else ())
                if found and not self.endless:
                    yield Event("", "stop", len(ids), count)
                    return
                if count >= params["max_tokens"]:
                    yield Event("", "length", len(ids), count)
                    return
            yield Event("", "stop", len(ids), count)
        finally:
            self.open -= 1

    def _told(self, text, params):
        if not self.tops or "logprobs" not in params:
            return ()
        top = sorted(self.tops(text).items(), key=lambda pair: -pair[1])
        return (TokenLogprob(*top[0], tuple(top)),) if top else ()


def writing(*chunks):
    """Return a writer that always writes the same."""
    return lambda text: chunks


def completing(whole):
    """Return a writer that continues a text to one it knows, whatever is before that."""

    def write(text):
        text = text[max(0, text.rfind(whole[:6])) :]
        return list(whole[len(text) :]) if whole.startswith(text) else []

    return write


def noise(seed, alphabet='abc"\\{}[],:un0159.-e \n\u00e9\U0001f600<|'):
    """Return a writer of random characters, and alternatives that are as random."""
    source = random.Random(seed)

    def write(text):
        for _ in range(source.choice([0, 1, 3, 10, 60])):
            yield "".join(source.choices(alphabet, k=source.randrange(4)))

    def tops(text):
        return {
            "".join(source.choices(alphabet, k=source.randrange(1, 3))): -source.random()
            for _ in range(source.randrange(1, 7))
        }

    return write, tops


async def _gather(engine, schema, limit, mode, params):
    able = engine.backend.capabilities(None)
    mode = mode or structure.plan(schema, able)
    found = structure.structured(engine, [], schema, params, limit, mode)
    return mode, [event async for event in found]


def answer(engine, schema, limit=2000, mode=None, **params):
    """Return the mode, the text and the last event of a structured answer."""
    params = {"temperature": 0.8, "seed": 7, **params}
    mode, events = asyncio.run(_gather(engine, schema, limit, mode, params))
    text = "".join(event.text for event in events)
    json.dumps(text).encode()
    assert engine.open == 0
    return mode, text, events[-1]
