"""Going on past the end of the context, by dropping what came first."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from hyperllama_nb.engines.events import Event

Complete = Callable[[Sequence[int], dict[str, Any]], AsyncGenerator[Event, None]]


async def shifting(
    complete: Complete,
    ids: Sequence[int],
    params: Mapping[str, Any],
    *,
    wanted: int,
    context: int,
    keep: int,
    encode: Callable[[str], list[int]],
    dropped: Callable[[int], None],
) -> AsyncGenerator[Event, None]:
    """Complete up to `wanted` tokens, which may be more than the `context` holds.

    Whenever it is full, the first `keep` tokens and the latter half of the rest stay and the
    engine goes on from there; `dropped` is told how many tokens that cost. One event with a
    reason comes, at the very end.
    """
    prompt, made = list(ids), 0
    first: Event | None = None
    while True:
        limit = min(wanted - made, context - len(prompt))
        pieces: list[str] = []
        last = Event(reason="stop")
        events = complete(prompt, {**params, "max_tokens": limit})
        async with aclosing(events):
            async for event in events:
                pieces.append(event.text)
                if event.reason is None:
                    yield event
                else:
                    last = event
        reply = encode("".join(pieces))
        made += last.output_tokens or len(reply)
        first = first or last
        if last.reason != "length" or made >= wanted:
            yield replace(
                last,
                prompt_tokens=first.prompt_tokens,
                cached_tokens=first.cached_tokens,
                output_tokens=made,
            )
            return
        if last.text:
            yield Event(last.text, logprobs=last.logprobs)
        whole = [*prompt, *reply]
        head = min(max(keep, 0), context // 2)
        kept = [*whole[:head], *whole[-((context - head) // 2) :]]
        dropped(len(whole) - len(kept))
        prompt = kept
