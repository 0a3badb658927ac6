"""Stop strings in streams."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.engines.events import Event
from hyperllama_nb.errors import EngineDiedError
from hyperllama_nb.service.decode import Stops, until_stop

# Few letters, so that stop strings occur, overlap and begin inside each other.
TEXT = st.text("ab<界", max_size=30)
STOPS = st.lists(st.text("ab<界", min_size=1, max_size=4), max_size=3)


@st.composite
def pieces(draw):
    text = draw(TEXT)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def expected(text, stops):
    """Return the text before the stop string that is complete first, the longest of several."""
    for end in range(len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - len(max(found, key=len))], True
    return text, False


@given(pieces(), STOPS)
def test_the_text_ends_before_the_first_stop_string_however_it_is_split(parts, strings):
    stops, shown, found = Stops(strings), "", False
    for part in parts:
        text, found = stops.feed(part)
        shown += text
        if found:
            break
    if not found:
        shown += stops.flush()
    assert (shown, found) == expected("".join(parts), strings)


@given(pieces(), STOPS)
def test_no_more_is_held_back_than_may_become_a_stop_string(parts, strings):
    stops, seen, shown = Stops(strings), "", ""
    for part in parts:
        text, found = stops.feed(part)
        if found:
            return
        seen, shown = seen + part, shown + text
        held = seen[len(shown) :]
        assert shown + held == seen
        assert not held or any(s.startswith(held) and s != held for s in strings)


def test_without_stop_strings_nothing_is_held_back():
    assert Stops([]).feed("abc") == ("abc", False)
    assert Stops([""]).feed("abc") == ("abc", False)


class Source:
    """Events that note when their reader closes them."""

    def __init__(self, *events, error=None, hang=False):
        self.events, self.error, self.hang = events, error, hang
        self.read = 0
        self.closed = False

    async def __call__(self):
        try:
            for event in self.events:
                self.read += 1
                yield event
            if self.error:
                raise self.error
            if self.hang:
                await asyncio.Event().wait()
        finally:
            self.closed = True


def collect(source, *strings, **options):
    async def main():
        return [event async for event in until_stop(source(), strings, **options)]

    return asyncio.run(main())


END = Event("", "stop", prompt_tokens=5, output_tokens=3, cached_tokens=2)


def test_a_stream_without_a_stop_string_passes_unchanged():
    source = Source(Event("a"), Event(""), Event("b"), Event("", "length", 5, 3, 2))
    assert collect(source, "xyz") == [
        Event("a"),
        Event(""),
        Event("b"),
        Event("", "length", 5, 3, 2),
    ]


def test_what_was_held_back_comes_at_the_end():
    assert collect(Source(Event("a<e"), Event("nd"), END), "<end>") == [
        Event("a"),
        Event("<end", "stop", 5, 3, 2),
    ]


def test_the_stop_string_is_cut_off_and_the_engines_counts_are_kept():
    source = Source(Event("a<"), Event("end>b"), END)
    assert collect(source, "<end>") == [Event("a"), Event("", "stop", 5, 3, 2)]
    assert source.closed


def test_a_stop_string_in_the_last_event_gives_the_reason_stop():
    source = Source(Event("ab<end>", "length", 5, 3))
    assert collect(source, "<end>") == [Event("ab", "stop", 5, 3)]


def test_an_engine_that_goes_on_is_closed_and_the_tokens_are_counted_here():
    source = Source(Event("abc"), Event("d<end>"), Event("x"), hang=True)
    events = collect(source, "<end>", patience=0.05, count=len)
    assert events == [Event("abc"), Event("d", "stop", output_tokens=4)]
    assert source.closed


def test_an_engine_that_fails_after_the_stop_string_has_still_answered():
    source = Source(Event("a<end>"), error=EngineDiedError("gone"))
    assert collect(source, "<end>") == [Event("a", "stop")]


def test_text_held_back_is_shown_before_an_error():
    source, seen = Source(Event("a<e"), error=EngineDiedError("gone")), []

    async def main():
        async for event in until_stop(source(), ["<end>"]):
            seen.append(event.text)  # noqa: PERF401  the error must not take what came before

    with pytest.raises(EngineDiedError):
        asyncio.run(main())
    assert seen == ["a", "<e"]


def test_a_reader_that_leaves_closes_the_source():
    source = Source(Event("a"), Event("b"), END)

    async def main():
        events = until_stop(source(), ["x"])
        await anext(events)
        await events.aclose()

    asyncio.run(main())
    assert source.closed
    assert source.read == 1
