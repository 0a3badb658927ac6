"""Writing the structure of an answer, and having the model fill in its leaves."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from hyperllama_nb.engines.events import Event, TokenLogprob
from hyperllama_nb.errors import EngineError
from hyperllama_nb.service.structure.asking import Asking
from hyperllama_nb.service.structure.check import Checker
from hyperllama_nb.service.structure.choose import choose
from hyperllama_nb.service.structure.compile import compile_schema
from hyperllama_nb.service.structure.leaves import Leaves
from hyperllama_nb.service.structure.nodes import (
    Array,
    Choice,
    Node,
    Number,
    Object,
    Tagged,
    Text,
    Union,
    dumps,
)

if TYPE_CHECKING:
    from hyperllama_nb.service.running import RunningEngine

MOST_ITEMS = 64
"""Items of an array whose schema names no limit."""


@dataclass
class Items:
    """An array that has been begun: how many of its items are there."""

    array: Array
    count: int = 0
    used: list[str] = field(default_factory=list)


Step: TypeAlias = str | Node | Items
"""What is still to be written: JSON, a value, or the rest of an array."""


class Filler(Leaves):
    """Fill one answer: what is to be written lies on a stack."""

    def __init__(self, asking: Asking) -> None:
        super().__init__(asking)
        self._todo: list[Step] = []

    async def fill(self, node: Node) -> AsyncGenerator[Event, None]:
        """Yield the answer's JSON in pieces, whatever the model writes."""
        self._todo = [node]
        while self._todo:
            step = self._todo.pop()
            match step:
                case str():
                    while self._todo and isinstance(following := self._todo[-1], str):
                        step += following
                        self._todo.pop()
                    yield self.write(step)
                case Text():
                    async with contextlib.aclosing(self.text(step)) as events:
                        async for event in events:
                            yield event
                case Number():
                    yield await self.number(step)
                case Choice():
                    yield await self._choice(step)
                case Object():
                    self._plan("{", *_properties(step, first=True), "}")
                case Tagged():
                    yield self.write(f"{{{dumps(step.name)}: ")
                    yield await self._choice(Choice(tuple(step.variants)), then=step)
                case Union():
                    self._plan(await self._kind(step))
                case Array():
                    before = [part for node in step.before for part in (", ", node)][1:]
                    self._plan("[", *before, Items(step))
                case Items():
                    await self._next(step)

    def _plan(self, *steps: Step) -> None:
        self._todo += reversed(steps)

    async def _choice(self, node: Choice, then: Tagged | None = None) -> Event:
        text, token = node.texts[0], None
        if len(node.texts) > 1:
            if self.spent(self.asking.text.rstrip(" ")):
                text = dumps((then or node).least[then.name] if then else node.least)
            else:
                text, token = await choose(self.asking, node.texts)
        if then is not None:
            self._plan(*_properties(then.variants[text], first=False), "}")
        elif self._todo and isinstance(self._todo[-1], Items):
            self._todo[-1].used.append(text)
        told = self.asking.told or 0
        shown = (TokenLogprob(token.token, token.logprob, token.top[:told]),) if token else ()
        return self.write(text, shown)

    async def _kind(self, node: Union) -> Node:
        """Return the kind of value that the model begins; the first one if it begins none."""
        before = self.asking.text.rstrip(" ")
        if self.spent(before):
            return min(node.kinds, key=lambda kind: len(dumps(kind.least)))
        tests = [_begins(kind.first) for kind in node.kinds]
        return node.kinds[await self.asking.decide(before, *tests) or 0]

    async def _next(self, items: Items) -> None:
        """Plan the next item of an array, or its end."""
        array = items.array
        item = array.item
        most = max(MOST_ITEMS, array.fewest) if array.most is None else array.most
        if item is None or items.count >= most or not await self._goes_on(items):
            self._plan("]")
            return
        if array.unique and isinstance(item, Choice):
            item = Choice(tuple(text for text in item.texts if text not in items.used))
        separator = ", " if items.count or array.before else ""
        items.count += 1
        self._plan(separator, item, items)

    async def _goes_on(self, items: Items) -> bool:
        """Return whether the model adds an item; it must while there are too few."""
        array, asking = items.array, self.asking
        if items.count < array.fewest:
            return True
        if self.spent():
            return False
        if not items.count and not array.before:
            first = array.item.first if array.item is not None else ""
            return await asking.decide(asking.text, _begins(first), _begins("]")) != 1
        if (sign := self.beyond.lstrip()[:1]) and sign in ",]}":
            return sign == ","
        return await asking.decide(asking.text, _begins(","), _begins("]}")) == 0


async def filled(
    engine: "RunningEngine", ids: Sequence[int], schema: Any, params: dict[str, Any], limit: int
) -> AsyncGenerator[Event, None]:
    """Yield an answer whose structure is written here and whose leaves are the model's.

    Raises EngineError for an answer that does not follow the schema, which is a defect of ours.
    """
    asking = Asking(engine, ids, params, limit)
    filler = Filler(asking)
    async with contextlib.aclosing(filler.fill(compile_schema(schema))) as events:
        async for event in events:
            yield event
    if fault := await asyncio.to_thread(Checker(schema).fault, asking.text):
        raise EngineError(f"The answer was filled in wrongly: {fault}. Please report the schema.")
    first = asking.first or Event()
    reason: Literal["stop", "length"] = "length" if filler.out else "stop"
    yield Event("", reason, first.prompt_tokens, asking.made, first.cached_tokens)


def _properties(node: Object, *, first: bool) -> Sequence[Step]:
    """Return what is written of an object's properties; those that are not the first have commas.

    >>> list(_properties(Object((("a", Text()),)), first=True))
    ['"a": ', Text(shortest=0, longest=None)]
    """
    steps: list[Step] = []
    for name, value in node.properties:
        steps += [f"{'' if first else ', '}{dumps(name)}: ", value]
        first = False
    return steps


def _begins(characters: str) -> Callable[[str], bool]:
    """Return a test for texts that begin with one of the characters, whatever their case."""
    return lambda text: text[0] in characters or text[0].lower() in characters
