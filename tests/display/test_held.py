"""Answers that are shown when they are whole."""

from hyperllama_nb.display.held import HeldSink, LateTerminal
from tests.display.test_sinks import Front


def test_only_the_growth_is_shown_until_the_end():
    front = Front()
    sink = HeldSink(front.sink(), str.upper)
    sink.status("Loading")
    front.clock.now += 1
    sink.text("ab")
    front.clock.now += 1
    sink.status("Loading still")
    sink.text("c")
    assert sink.due() is None
    sink.finish("f", {"finish_reason": "stop"})
    assert front.plain == [
        "Loading",
        "Writing, 2 characters so far",
        "Writing, 3 characters so far",
        "ABC",
        "ABC\n\nf",
    ]


def test_an_answer_that_broke_off_stays_as_it_is():
    front = Front()
    sink = HeldSink(front.sink(), str.upper)
    sink.text("a")
    sink.finish("f", {"finish_reason": "interrupted"})
    assert front.plain[-1] == "a\n\nf"


def test_a_quiet_sink_gives_nothing_but_the_footer():
    front = Front()
    sink = HeldSink(front.sink(), quiet=True)
    sink.text("a")
    sink.finish("f", {"finish_reason": "error"})
    assert front.plain[-1] == "f"


def test_a_terminal_hears_of_it_at_the_end(capsys):
    sink = LateTerminal()
    sink.status("Loading")
    sink.text("a")
    sink.flush()
    assert sink.due() is None
    assert capsys.readouterr() == ("", "")
    sink.finish("f")
    assert capsys.readouterr() == ("a\n", "f\n")
