"""What happens to a stream of events between the engine and the reply: stop strings.

An engine guarantees that no event ends inside a character: MAX sends a token whose bytes do not
complete one as an empty piece, and the text with the token that completes it. Text cannot be
mended here, since a replacement character no longer holds the bytes that it stands for.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress

from hyperllama_nb.engines.events import Event
from hyperllama_nb.errors import HyperLlamaError

PATIENCE = 0.5
"""Seconds to wait for the engine's own count of tokens after a stop string was seen."""


class Stops:
    """Find the first of several strings in text that comes in pieces.

    The first is the one that is complete first; of several that end together, the longest. So the
    result does not depend on how the text is split. Only text that may still become a stop string
    is held back.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        """Search for `strings`; empty ones are left out."""
        self._strings = tuple(text for text in strings if text)
        self._held = ""

    def feed(self, piece: str) -> tuple[str, bool]:
        """Return the text that may be shown now, and whether a stop string has come.

        After True the text ends where the stop string begins, and nothing more may be fed.

        >>> stops = Stops(["END"])
        >>> stops.feed("a E"), stops.feed("N"), stops.feed("Dxyz")
        (('a ', False), ('', False), ('', True))
        """
        if not self._strings:
            return piece, False
        text = self._held + piece
        found = [
            (start + len(stop), start) for stop in self._strings if (start := text.find(stop)) >= 0
        ]
        if found:
            self._held = ""
            return text[: min(found)[1]], True
        keep = max((_overlap(text, stop) for stop in self._strings), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def flush(self) -> str:
        """Return the text that was held back, at the end of a stream without a stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that begins `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0


async def until_stop(
    events: AsyncGenerator[Event, None],
    strings: Iterable[str],
    *,
    count: Callable[[str], int] | None = None,
    patience: float = PATIENCE,
) -> AsyncGenerator[Event, None]:
    """Yield the events up to the first stop string, then one with the reason "stop".

    The engine knows the same strings and ends by itself, so its last event, with the counts, is
    waited for `patience` seconds; then `events` is closed, which ends the generation. If that
    event does not come, `count` (text to tokens) supplies the number of tokens shown.
    """
    stops = Stops(strings)
    shown: list[str] = []
    async with aclosing(events):
        try:
            async for event in events:
                text, found = stops.feed(event.text)
                if found:
                    shown.append(text)
                    last = event if event.reason else await _last(events, patience)
                    if last is None:
                        tokens = count("".join(shown)) if count else None
                        last = Event(output_tokens=tokens)
                    yield Event(
                        text, "stop", last.prompt_tokens, last.output_tokens, last.cached_tokens
                    )
                    return
                if event.reason:
                    text += stops.flush()
                if text or event.reason or not event.text:
                    shown.append(text)
                    event.text = text
                    yield event
        except HyperLlamaError:
            if held := stops.flush():
                yield Event(held)
            raise


async def _last(events: AsyncGenerator[Event, None], patience: float) -> Event | None:
    """Return the event with the reason if it comes in time; its text is past the stop string."""
    with suppress(TimeoutError, HyperLlamaError):
        async with asyncio.timeout(patience):
            async for event in events:
                if event.reason:
                    return event
    return None
