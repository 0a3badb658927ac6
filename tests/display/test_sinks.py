"""What each sink shows, and when."""

import io
import itertools

from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.display.sinks import (
    MARKDOWN_LIMIT,
    DisplaySink,
    NullSink,
    TerminalSink,
    choose_sink,
)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Front:
    """A front end that keeps what it is told."""

    def __init__(self):
        self.clock = Clock()
        self.sent = []

    def __call__(self, bundle, metadata, display_id, update):
        self.sent.append((self.clock.now, bundle, metadata, display_id, update))

    def sink(self, shape="markdown"):
        return DisplaySink(shape, publish=self, clock=self.clock)

    @property
    def plain(self):
        return [bundle["text/plain"] for _, bundle, *_ in self.sent]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_first_text_is_sent_at_once_and_later_text_waits_its_turn():
    front = Front()
    sink = front.sink()
    sink.text("a")
    sink.text("b")
    assert front.plain == ["a"]
    assert round(sink.due(), 6) == 0.1
    front.clock.now += 0.11
    sink.text("c")
    assert front.plain == ["a", "abc"]
    assert sink.due() is None
    sink.finish("done")
    assert front.plain[-1] == "abc\n\ndone"
    assert [update for *_, update in front.sent] == [False, True, True]
    assert len({display_id for *_, display_id, _ in front.sent}) == 1


def test_the_interval_grows_with_the_text_up_to_a_second():
    front = Front()
    sink = front.sink()
    sink.text("x" * 10_000)
    sink.text("y")
    assert round(sink.due(), 3) == 0.3
    sink.text("z" * 1_000_000)
    assert sink.due() == 1.0


@given(st.lists(st.tuples(st.integers(1, 200), st.floats(0.001, 0.5)), max_size=60))
def test_updates_are_never_denser_than_the_rule_and_nothing_is_lost(pieces):
    front = Front()
    sink = front.sink("text")
    for length, pause in pieces:
        sink.text("x" * length)
        front.clock.now += pause
    live = list(front.sent)
    sink.finish()
    for (before, *_), (after, *_) in itertools.pairwise(live):
        assert after - before >= 0.1 - 1e-9
    assert front.plain[-1].strip() == "x" * sum(length for length, _ in pieces)


def test_a_long_text_is_plain_until_the_end():
    front = Front()
    sink = front.sink()
    sink.text("x" * (MARKDOWN_LIMIT + 1))
    assert "text/markdown" not in front.sent[-1][1]
    sink.finish()
    assert "text/markdown" in front.sent[-1][1]


def test_an_empty_answer_is_a_space():
    front = Front()
    sink = front.sink()
    sink.finish()
    assert front.sent[-1][1] == {"text/plain": " ", "text/markdown": " "}


def test_the_status_goes_away_with_the_first_text():
    front = Front()
    sink = front.sink()
    sink.status("loading, 1 s")
    sink.status("loading, 1 s")
    sink.text("a")
    sink.status("loading, 2 s")
    assert front.plain == ["loading, 1 s", "a"]
    assert sink.due() is None


def test_metadata_is_kept_with_the_last_update_only():
    front = Front()
    sink = front.sink()
    sink.text("a")
    sink.finish("f", {"seed": 1})
    assert [metadata for _, _, metadata, *_ in front.sent] == [{}, {"hyperllama": {"seed": 1}}]


def test_a_whole_answer_may_take_another_form():
    front = Front()
    sink = DisplaySink(final=lambda text: {"application/json": text}, publish=front)
    sink.text("a")
    sink.finish("f", {"finish_reason": "stop"})
    (*_, first, _), (_, bundle, metadata, second, update) = front.sent[-2:]
    assert front.sent[0][1] == {"text/plain": "a"}
    assert front.sent[-2][1] == {"application/json": "a"}
    assert front.sent[-2][2]["hyperllama"] == {"finish_reason": "stop"}
    assert (bundle["text/plain"], metadata, update) == ("f", {}, False)
    assert first != second


def test_an_answer_that_broke_off_stays_text():
    front = Front()
    sink = DisplaySink(final=lambda text: {"application/json": text}, publish=front)
    sink.text("a")
    sink.finish("f", {"finish_reason": "interrupted"})
    assert front.sent[-1][1] == {"text/plain": "a\n\nf"}


def test_an_empty_form_leaves_the_footer():
    front = Front()
    sink = DisplaySink(final=lambda text: {}, publish=front)
    sink.text("a")
    sink.finish("f")
    assert front.sent[-1][1] == {"text/plain": "f"}


def test_html_of_the_model_does_not_run():
    front = Front()
    sink = front.sink()
    sink.text("<img src=x onerror=x()>")
    sink.finish()
    assert {bundle["text/markdown"][:5] for _, bundle, *_ in front.sent} == {"&lt;i"}
    assert front.plain[-1] == "<img src=x onerror=x()>"


def test_an_open_fence_is_closed_in_what_is_shown_and_not_in_the_text():
    front = Front()
    sink = front.sink()
    sink.text("```python\nx")
    assert front.sent[-1][1]["text/markdown"] == "```python\nx\n```"
    assert front.plain[-1] == "```python\nx"
    front.clock.now += 1
    sink.text("\n```\ndone")
    assert front.sent[-1][1]["text/markdown"] == "```python\nx\n```\ndone"


def test_a_pipe_gets_the_answer_and_nothing_else():
    out, err = io.StringIO(), io.StringIO()
    sink = TerminalSink(out, err)
    for seconds in range(3):
        sink.status(f"loading, {seconds} s")
    sink.text("Par")
    sink.text("is\x1b[2J")
    sink.finish("8 tokens", {"seed": 1})
    assert out.getvalue() == "Paris\x1b[2J\n"
    assert err.getvalue() == "loading, 0 s\n8 tokens\n"


def test_a_terminal_is_not_steered_by_the_model():
    out, err = Terminal(), Terminal()
    sink = TerminalSink(out, err)
    sink.status("loading")
    sink.text("a\x1b]0;x\x07\tb\n")
    sink.finish()
    assert out.getvalue() == "a]0;x\tb\n"
    assert err.getvalue() == "\r\x1b[2Kloading\r\x1b[2K"


def test_without_a_kernel_the_sink_is_the_terminals():
    assert isinstance(choose_sink(), TerminalSink)


def test_the_null_sink_takes_everything():
    sink = NullSink()
    sink.status("x")
    sink.text("x")
    sink.flush()
    sink.finish("x", {})
    assert sink.due() is None
