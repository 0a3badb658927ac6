"""The lines of tokens, which are made from a pattern, against those that are made as objects."""

import json

from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.service import wire
from hyperllama_nb.service.wire import TextLine


@given(text=st.text(), model=st.text(st.characters(exclude_characters="\0")))
def test_a_line_has_the_bytes_of_its_object(text, model):
    def shape(time, text):
        message = {"role": "assistant", "content": text}
        return {"model": model, "created_at": time, "message": message, "done": False}

    line = TextLine(shape)(text)
    time = json.loads(line)["created_at"]
    assert line == json.dumps(shape(time, text), ensure_ascii=False).encode() + b"\n"


def test_times_have_the_second_that_they_were_asked_in(monkeypatch):
    times = iter((1_000_000_000_999_999_999, 1_000_000_001_000_000_000))
    monkeypatch.setattr(wire.time, "time_ns", lambda: next(times))
    assert wire.now() == "2001-09-09T01:46:40.999999Z"
    assert wire.now() == "2001-09-09T01:46:41.000000Z"
