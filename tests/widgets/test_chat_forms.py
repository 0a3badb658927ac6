"""The chat's transcript, its files, and the interrupt of a cell that waits for it."""

import _thread
import stat
import threading

import pytest

from hyperllama_nb.display.streaming import GenerationInterrupted
from hyperllama_nb.errors import RequestError
from hyperllama_nb.testing import Script, install_tiny
from hyperllama_nb.widgets import Chat
from hyperllama_nb.widgets._transcript import Note, as_html, as_text
from tests.service.hosting import SLOW, until
from tests.service.test_features import SMART, THOUGHT
from tests.widgets.serving import serving

QUESTION = {"role": "user", "content": "Is 1 < 2?\nReally?"}
ANSWER = {
    "role": "assistant",
    "content": "Yes:\n\n```py\n1 < 2\n\nTrue\n```\nDone.",
    "thinking": "Hm <i>.",
}
NOTE = Note("m:1", "9.0 tokens/s", 30, 4096)
ENTRIES = [(QUESTION, Note()), (ANSWER, NOTE)]


def test_a_transcript_as_text():
    assert as_text("Title", "Be kind.", ENTRIES) == (
        "Title\n\nSystem:\nBe kind.\n\nYou:\nIs 1 < 2?\nReally?\n\n"
        "m:1:\nYes:\n\n```py\n1 < 2\n\nTrue\n```\nDone.\n(9.0 tokens/s)"
    )
    assert "Nothing was said yet." in as_text("Title", "", [])


def test_a_transcript_as_html():
    assert as_html("T & U", "", ENTRIES) == (
        "<figure><figcaption>T &amp; U</figcaption>"
        "<p><strong>You</strong></p><p>Is 1 &lt; 2?<br>Really?</p>"
        "<p><strong>m:1</strong></p>"
        "<details><summary>Thinking</summary><p>Hm &lt;i&gt;.</p></details>"
        "<p>Yes:</p><pre><code>1 &lt; 2\n\nTrue</code></pre><p>Done.</p>"
        "<p><small>9.0 tokens/s</small></p></figure>"
    )


def test_a_conversation_in_a_file(tmp_path):
    chat = Chat("m:1", name="trip")
    chat._session.put(ENTRIES)
    chat.save(tmp_path / "trip.json")
    assert stat.S_IMODE((tmp_path / "trip.json").stat().st_mode) == 0o600
    again = Chat.load(tmp_path / "trip.json", system="Be brief.")
    assert (again.messages, again.name) == (chat.messages, "trip")
    assert (again.model, again.system) == ("m:1", "Be brief.")
    assert Chat.load(tmp_path / "trip.json", "other").model == "other"
    chat.messages = [QUESTION]
    with pytest.raises(RequestError, match="in turns"):
        chat.save(tmp_path / "half.json")
    with pytest.raises(RequestError, match="cannot be read"):
        Chat.load(tmp_path / "none.json")


def test_an_interrupt_stops_the_answer_that_a_cell_waits_for():
    with serving([SLOW]) as service:
        chat = Chat("tiny")

        def interrupt():
            until(lambda: chat._session.running and chat._session.running.text)
            _thread.interrupt_main()

        threading.Thread(target=interrupt).start()
        with pytest.raises(GenerationInterrupted) as caught:
            chat.ask("Hi")
        assert caught.value.response.text == chat[-1]["content"]
        assert not chat._busy
        until(lambda: service.told("running") == 0)
        chat.close()


def test_thinking_is_kept_apart():
    with serving([Script(pieces=THOUGHT)]) as service:
        install_tiny(service.store, "smart", template=SMART)
        chat = Chat("smart")
        chat.ask("Hi")
        assert chat[-1]["thinking"] == "Let me see."
        assert chat[-1]["content"] == "It is fine."
        assert "Let me see." in chat._html()
        chat.close()
