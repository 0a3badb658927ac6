"""The leaves that a model writes: strings and numbers, streamed into an answer as JSON."""

import contextlib
from collections.abc import AsyncGenerator

from hyperllama_nb.engines.events import Event, TokenLogprob
from hyperllama_nb.service.structure.asking import Asking
from hyperllama_nb.service.structure.nodes import Number, Text, dumps
from hyperllama_nb.service.structure.text import StringReader, read_number, whole_number

NUMBER_TOKENS = 24
LENGTHENINGS = 2
"""How often a model that ends a string too early is asked for more, before dots fill it up."""

_AFTER_NUMBER = (",", "]", "}", "\n")


class Leaves:
    """Write an answer's leaves.

    `out` tells that the tokens have run out: what is left gets the smallest values. `beyond` is
    what the model wrote behind the last leaf, which tells whether it would go on.
    """

    def __init__(self, asking: Asking) -> None:
        self.asking = asking
        self.out = False
        self.beyond = ""

    def write(self, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> Event:
        """Append JSON to the answer, and return the event that shows it."""
        self.asking.text += text
        self.beyond = ""
        return Event(text, logprobs=logprobs if self.asking.told is not None else ())

    def spent(self, text: str | None = None) -> bool:
        """Tell whether nothing more may be asked for, and remember it."""
        self.out = self.out or self.asking.left(text) < 1
        return self.out

    async def text(self, node: Text) -> AsyncGenerator[Event, None]:
        """Yield a string as the model writes it, quotes included."""
        yield self.write('"')
        length = 0
        rest = ""
        for attempt in range(1 + LENGTHENINGS):
            if attempt:
                yield self.write(" ")
                length += 1
            longest = None if node.longest is None else node.longest - length
            reader = StringReader(longest)
            async with contextlib.aclosing(self._inside(reader)) as events:
                async for event in events:
                    yield event
            length, rest = length + reader.length, reader.rest
            if length >= node.shortest or self.out:
                break
        yield self.write("." * (node.shortest - length) + '"')
        self.beyond = rest

    async def _inside(self, reader: StringReader) -> AsyncGenerator[Event, None]:
        """Yield the inside of a string up to its end; a quote in it may take another request."""
        asking, longest = self.asking, reader.longest
        while not reader.done and not self.spent():
            most = asking.left()
            if longest is not None:
                most = min(most, 4 * (longest - reader.length) + 4)
            wrote, reason = False, None
            stream = asking.stream(asking.text, most=most, stop=('"',), logprobs=asking.told)
            async with contextlib.aclosing(stream) as events:
                async for event in events:
                    made = reader.feed(event.text)
                    wrote, reason = wrote or bool(event.text), event.reason
                    if made or event.logprobs:
                        yield self.write(made, event.logprobs)
                    if reader.done:
                        if reason is None and reader.length != longest:
                            reader.rest += await asking.finish(events)
                        return
            if reason == "length":
                self.spent()
                break
            if not (wrote and reader.open):
                break  # the model has ended the whole answer here
            if quote := reader.quote():
                yield self.write(quote)
        if last := reader.end():
            yield self.write(last)

    async def number(self, node: Number) -> Event:
        """Write the number that the model writes, or the nearest one that is allowed.

        One that writes words gets a space to begin with, which makes most think of digits, then
        the likeliest digit; at last a number among its words is taken, or else the smallest.
        """
        before = self.asking.text.rstrip(" ")
        said, found = "", None
        tokens: tuple[TokenLogprob, ...] = ()
        for start in ("", " "):
            if found is None and not self.spent(before + start):
                written, tokens = await self._digits(before + start)
                found = read_number(written, node)
                said += f"{written} "
        begun = "" if found else self._digit(tokens, node)
        if begun and not self.spent(f"{before} {begun}"):
            written, tokens = await self._digits(f"{before} {begun}")
            found = read_number(begun + written, node)
        found = found or read_number(said, node, anywhere=True) or (dumps(node.least), "")
        event = self.write(found[0], _within(tokens, f" {found[0]}"))
        self.beyond = found[1]
        return event

    async def _digits(self, text: str) -> tuple[str, tuple[TokenLogprob, ...]]:
        """Return what the model writes up to the end of a number, and its tokens."""
        asking = self.asking
        written = ""
        tokens: tuple[TokenLogprob, ...] = ()
        most = min(asking.left(text), NUMBER_TOKENS)
        told = asking.alternatives or asking.told
        stream = asking.stream(text, most=most, stop=_AFTER_NUMBER, logprobs=told)
        async with contextlib.aclosing(stream) as events:
            async for event in events:
                written += event.text
                tokens += event.logprobs
                if whole_number(written):
                    written += await asking.finish(events)
                    break
        return written, tokens

    def _digit(self, tokens: tuple[TokenLogprob, ...], node: Number) -> str:
        """Return a likely beginning of a number among a token's alternatives; empty if none is."""
        top = tokens[0].top if tokens else ()
        likely = [(t.lstrip(), p) for t, p in top if t.lstrip()[:1] in set(node.first)]
        return self.asking.draw(likely) if likely else ""


def _within(tokens: tuple[TokenLogprob, ...], text: str) -> tuple[TokenLogprob, ...]:
    """Return the tokens that a text is made of, as far as it is made of these."""
    kept: list[TokenLogprob] = []
    reached = ""
    for token in tokens:
        reached += token.token
        if reached.strip() and not text.strip().startswith(reached.strip()):
            break
        kept.append(token)
    return tuple(kept)
