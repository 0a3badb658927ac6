"""The chat against a service on a FakeEngine, driven as a front end drives it."""

import json
import threading
import time

import pytest

from hyperllama_nb.errors import ConflictError, EngineError, ModelNotFoundError, RequestError
from hyperllama_nb.testing import Script
from hyperllama_nb.widgets import Chat
from tests.service.hosting import ANSWER, PATIENCE, SLOW, until
from tests.widgets.serving import serving


@pytest.fixture(autouse=True)
def own_place():
    """Leave the place to the services, which each have their own."""


class Recorded(Chat):
    """A chat that remembers what it told its views."""

    def __init__(self, *args, **kwargs):
        self.told = []
        super().__init__(*args, **kwargs)

    def send(self, content, buffers=None):
        self.told.append((time.monotonic(), json.loads(json.dumps(content))))
        super().send(content, buffers)

    def get(self, kind):
        """Return the messages of a type."""
        return [content for _, content in self.told if content["type"] == kind]

    def hear(self, **message):
        """Take a message as one of the front end."""
        self._handle_custom_msg(message, [])


@pytest.fixture(scope="module")
def service():
    with serving() as running:
        yield running


@pytest.fixture
def chat(service):
    chat = Recorded("tiny")
    yield chat
    chat.close()
    until(lambda: not mine())


def mine():
    """Return the threads of chats that run."""
    return [t for t in threading.enumerate() if t.name.startswith("hyperllama-chat")]


def said(chat):
    return [(message["role"], message["content"]) for message in chat.messages]


def text_of(chat):
    """Return the text that the views were told, put together as they do it."""
    text = ""
    for delta in chat.get("delta"):
        assert delta["at"][0] == len(text)
        text += delta["text"]
    return text


def test_asking_from_python(chat, service):
    response = chat.ask("Hi")
    assert response.text == ANSWER
    assert said(chat) == [("user", "Hi"), ("assistant", ANSWER)]
    assert chat.wait() == response
    assert list(chat) == chat.messages
    assert chat[-1]["role"] == "assistant"
    assert len(chat) == 2
    assert repr(chat) == "<Chat with tiny, 2 messages>"
    chat.messages[0]["content"] = "changed"
    assert chat[0]["content"] == "Hi"


def test_a_message_of_the_front_end_is_answered_in_deltas(chat):
    chat.hear(type="send", text="Hi")
    assert chat.wait().text == ANSWER
    assert chat.get("begin") == [{"type": "begin", "keep": 0, "question": "Hi", "model": "tiny"}]
    assert text_of(chat) == ANSWER
    assert not chat._busy
    assert [entry["content"] for entry in chat._log] == ["Hi", ANSWER]
    assert "first token after" in chat._log[1]["figures"]
    assert "context " in chat._log[1]["figures"]


def test_the_conversation_is_sent_whole(chat, service):
    chat.system, chat.options = "Be brief.", {"temperature": 0.5}
    chat.ask("One")
    chat.ask("Two")
    sent = service.requests()[-1]
    body = {"model": "tiny", "tokens": sent["prompt"]}
    prompt = service.client.post("/api/detokenize", json=body).json()["content"]
    for part in ("Be brief.", "One", ANSWER, "Two"):
        assert part in prompt
    assert sent["params"]["temperature"] == 0.5


def test_writing_an_answer_anew_and_editing_a_question(chat):
    chat.ask("One")
    chat.ask("Two")
    assert chat.regenerate().text == ANSWER
    assert len(chat) == 4
    chat.hear(type="regenerate")
    chat.wait()
    assert len(chat) == 4
    chat.edit(0, "Three")
    assert said(chat) == [("user", "Three"), ("assistant", ANSWER)]
    chat.hear(type="edit", index=0, text="Four")
    chat.wait()
    assert said(chat)[0] == ("user", "Four")


def test_settings_of_the_front_end(chat):
    chat.hear(type="model", value="other")
    chat.hear(type="system", value="Be kind.")
    chat.hear(type="option", name="seed", value=7)
    chat.hear(type="option", name="top_p", value=0.5)
    chat.hear(type="option", name="seed", value=None)
    assert (chat.model, chat.system, chat.options) == ("other", "Be kind.", {"top_p": 0.5})
    chat.hear(type="option", name="raw", value=1)
    assert "does not know" in chat.get("error")[-1]["message"]


def test_the_models_of_the_store(chat):
    chat.hear(type="ready")
    until(lambda: chat._models == ["tiny:latest"])
    chat._models = []
    chat.hear(type="models")
    until(lambda: chat._models == ["tiny:latest"])


def test_a_model_that_is_not_there(chat):
    chat.model = "nowhere:1b"
    with pytest.raises(ModelNotFoundError, match="nowhere:1b"):
        chat.ask("Hi")
    assert said(chat) == []
    (failed,) = chat.get("failed")
    assert failed["question"] == "Hi"
    assert "nowhere:1b" in failed["message"]
    with pytest.raises(ModelNotFoundError):
        chat.wait()
    chat.model = "tiny"
    assert chat.ask("Hi").text == ANSWER


def test_what_cannot_be_asked(chat):
    for wrong in (lambda: chat.ask(" "), chat.regenerate, lambda: chat.edit(0, "x")):
        with pytest.raises(RequestError):
            wrong()
    chat.ask("Hi")
    with pytest.raises(RequestError, match="no question"):
        chat.edit(1, "x")
    with pytest.raises(RequestError, match="is no message"):
        chat.messages = [{"role": "poet", "content": "x"}]
    assert len(chat) == 2


def test_stopping_keeps_what_has_arrived_and_frees_the_engine():
    with serving([SLOW]) as service:
        chat = Recorded("tiny")
        chat.hear(type="send", text="Hi")
        until(lambda: chat.get("delta"))
        with pytest.raises(ConflictError, match="still being written"):
            chat.ask("Now?")
        chat.hear(type="send", text="Now?")
        assert "still being written" in chat.get("error")[0]["message"]
        chat.hear(type="stop")
        response = chat.wait()
        assert not response.done
        assert chat[-1] == {"role": "assistant", "content": text_of(chat)}
        assert chat._log[-1]["figures"].startswith("stopped")
        until(lambda: service.requests()[-1]["cancelled_at"] is not None)
        until(lambda: service.told("running") == 0)
        chat.close()


def test_stopping_before_the_first_text_takes_the_question_back():
    with serving([Script(stall_after=0)]):
        chat = Recorded("tiny")
        chat.hear(type="send", text="Hi")
        until(lambda: chat.get("status"))
        chat.stop()
        chat.wait()
        assert said(chat) == []
        assert chat.get("failed") == [{"type": "failed", "message": "", "question": "Hi"}]
        chat.close()


def test_an_engine_that_dies_leaves_the_conversation_as_it_was():
    with serving([Script(die_after=2), Script()]):
        chat = Recorded("tiny", messages=[{"role": "user", "content": "a"}])
        with pytest.raises(EngineError):
            chat.ask("Hi")
        assert said(chat) == [("user", "a")]
        assert chat.get("failed")[0]["question"] == "Hi"
        assert chat.ask("Hi").text == ANSWER
        chat.close()


def test_two_chats_at_a_time():
    with serving([Script(pieces=["x"], repeat=20, delay=0.02)]):
        chats = [Recorded("tiny"), Recorded("tiny")]
        for chat in chats:
            chat.hear(type="send", text="Hi")
        for chat in chats:
            assert chat.wait().text == "x" * 20
            assert text_of(chat) == "x" * 20
            chat.close()
        until(lambda: not mine())


def test_messages_are_few_however_fast_the_engine_is():
    with serving([Script(pieces=["token "], repeat=400, delay=0.002)]):
        chat = Recorded("tiny")
        chat.ask("Hi")
        times = [at for at, content in chat.told if content["type"] in {"delta", "status"}]
        assert text_of(chat) == "token " * 400
        for begin in times:
            assert sum(begin <= at < begin + 1 for at in times) <= 20
        chat.close()


def test_a_view_that_opens_late_hears_of_the_running_answer():
    with serving([SLOW]):
        chat = Recorded("tiny")
        chat.hear(type="send", text="Hi")
        until(lambda: len(chat.get("delta")) > 1)
        before = len(chat.told)
        chat.hear(type="ready")
        again = [content for _, content in chat.told[before:]]
        types = [content["type"] for content in again]
        assert "begin" in types
        whole = next(c for c in again if c["type"] == "delta" and c["at"] == [0, 0])
        assert len(whole["text"]) > 1
        chat.close()
        assert chat.wait() is not None
        # the list of models is asked for by a thread of its own, which must still find the service
        until(lambda: not mine())


def test_closing_stops_the_answer_and_leaves_the_transcript():
    with serving([SLOW]) as service:
        chat = Recorded("tiny")
        chat.hear(type="send", text="Hi <b>")
        until(lambda: chat.get("delta"))
        begun = time.monotonic()
        chat.close()
        assert time.monotonic() - begun < PATIENCE
        until(lambda: not mine())
        until(lambda: service.told("running") == 0)
        bundle, _ = chat._repr_mimebundle_()
        assert bundle.keys() == {"text/plain", "text/html"}
        assert "Hi &lt;b&gt;" in bundle["text/html"]
        assert "You:\nHi <b>" in bundle["text/plain"]
