"""Answers that the model writes itself: held to a schema by the engine, or checked afterwards."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hyperllama_nb.engines.events import Event
from hyperllama_nb.errors import EngineError, RequestError
from hyperllama_nb.service.structure.asking import Asking
from hyperllama_nb.service.structure.check import Checker, as_schema
from hyperllama_nb.service.structure.closing import Closing
from hyperllama_nb.service.structure.schema import resolve

if TYPE_CHECKING:
    from hyperllama_nb.service.running import RunningEngine

TRIES = 4
_EMPTY = {"{": "{}", "[": "[]"}
WARMEST = 0.5
"""The lowest temperature of further tries: without any, the model would answer the same again."""


async def constrained(
    engine: "RunningEngine", ids: Sequence[int], schema: Any, params: dict[str, Any], limit: int
) -> AsyncGenerator[Event, None]:
    """Yield what an engine writes that follows the schema by itself.

    An answer that breaks off at its limit is closed. Raises EngineError if the engine did not
    follow the schema after all.
    """
    held = {name: value for name, value in params.items() if name != "stop"}
    asked = {**held, "max_tokens": limit, "schema": as_schema(schema)}
    closing, text, last = _closing(schema), "", Event(reason="stop")
    if limit < 1:
        yield Event(closing.end(), "length")
        return
    async with contextlib.aclosing(engine.complete(ids, asked)) as events:
        async for event in events:
            text += event.text
            shown = closing.feed(event.text)
            if shown or event.logprobs or not event.text:
                yield Event(shown, logprobs=event.logprobs)
            last = event if event.reason else last
    if last.reason == "length" and not closing.whole:
        yield Event(closing.end())
    elif fault := await _fault(Checker(schema), text):
        raise EngineError(
            f"The backend {engine.backend.name} was told to follow the format, and its answer does "
            f"not: {fault}. Ask again, or choose another one with the option `backend`."
        )
    yield _end(last, last.reason, last.output_tokens)


async def validated(
    engine: "RunningEngine", ids: Sequence[int], schema: Any, params: dict[str, Any], limit: int
) -> AsyncGenerator[Event, None]:
    """Yield the first of a few answers that follows the schema, and empty events meanwhile.

    One that breaks off at its limit is closed, and is the answer. Raises EngineError if none does.
    """
    able = engine.backend.capabilities(engine.spec)
    constrain = "constrain" in able
    asking, checker = Asking(engine, ids, params, limit), Checker(schema)
    fault = ""
    if limit < 1:
        yield Event(_closing(schema).end(), "length")
        return
    for number in range(TRIES):
        opening = "" if constrain else _opening(checker.schema, checker.schema)
        asking.text = opening
        extra: dict[str, Any] = {"schema": checker.schema} if constrain else {}
        if number:
            extra["temperature"] = max(WARMEST, params.get("temperature", 0.0))
        trial = _Trial(opening)
        most = max(1, limit - len(opening))
        stream = asking.stream(opening, most=most, logprobs=asking.told, extra=extra)
        try:
            async with contextlib.aclosing(stream) as events:
                async for event in events:
                    trial.take(event)
                    if trial.over:
                        break
                    yield Event()
        except RequestError:
            # Not every schema can be made a grammar of.
            if not constrain:
                raise
            constrain = False
            continue
        if trial.cut:
            yield Event(trial.text + trial.closing.end(), logprobs=trial.logprobs)
            yield _end(asking.first, "length", asking.made)
            return
        fault = await _fault(checker, trial.text) or ""
        if not fault:
            yield Event(trial.text, logprobs=trial.logprobs)
            yield _end(asking.first, "stop", asking.made)
            return
    raise EngineError(
        f'None of {TRIES} answers of "{engine.model}" follows the format; of the last one: '
        f"{fault}. Say in the prompt what the answer must look like, simplify the schema, or take "
        "a larger model or a backend that can hold the model to it."
    )


class _Trial:
    """One answer, up to where its outermost value ends."""

    def __init__(self, opening: str) -> None:
        self.closing = Closing(_EMPTY.get(opening, "{}"))
        self.logprobs: tuple[Any, ...] = ()
        self._shown = self.closing.feed(opening)
        self._whole = opening
        self._reason: str | None = None

    def take(self, event: Event) -> None:
        self._shown += self.closing.feed(event.text)
        self._whole += event.text
        self.logprobs += event.logprobs
        self._reason = event.reason or self._reason

    @property
    def over(self) -> bool:
        """Tell whether nothing that may follow could change the answer."""
        return self.closing.whole or self.closing.broken

    @property
    def cut(self) -> bool:
        return self._reason == "length" and not self.over

    @property
    def text(self) -> str:
        """Return the answer, or as much of it as can be closed."""
        return self._shown if self.closing.whole or self.cut else self._whole.strip()


def _opening(schema: Any, root: Mapping[str, Any], depth: int = 8) -> str:
    """Return the bracket with which every answer begins; empty if that is not plain to see."""
    if not isinstance(schema, Mapping) or not depth:
        return ""
    if "$ref" in schema:
        return _opening(resolve(root, schema["$ref"]), root, depth - 1)
    kind = schema.get("type")
    return {"object": "{", "array": "["}.get(kind, "") if isinstance(kind, str) else ""


def _closing(schema: Any) -> Closing:
    whole = as_schema(schema)
    return Closing(_EMPTY.get(_opening(whole, whole), "{}"))


async def _fault(checker: Checker, text: str) -> str | None:
    # In a thread: a schema's patterns may take a while, and other answers go on meanwhile.
    return await asyncio.to_thread(checker.fault, text)


def _end(last: Event | None, reason: Any, made: int | None) -> Event:
    last = last or Event()
    return Event("", reason, last.prompt_tokens, made, last.cached_tokens)
