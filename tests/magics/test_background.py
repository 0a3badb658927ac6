"""Answers that grow while other cells run."""

import threading
import time

import pytest

from hyperllama_nb.errors import BusyError, InvalidAnswerError
from tests.client.fakeservice import messages, words
from tests.service.hosting import until

GENERATE, CHAT = "POST /api/generate", "POST /api/chat"


@pytest.fixture
def gate(service):
    """Let answers of "Hi there" stop behind the first word until this is set."""
    found = threading.Event()

    def answer(body):
        yield words("Hi ")[0]
        found.wait(30)
        yield from words("there", eval_count=2)

    service.routes[GENERATE] = answer
    yield found
    found.set()


def test_a_cell_returns_at_once_with_a_handle(ask, shell, page, gate):
    handle = ask("m --bg -O later")
    assert shell.user_ns["later"] is handle
    until(lambda: handle.text == "Hi ")
    assert not handle.done
    assert repr(handle) == "<Background m running, 3 characters>"
    assert handle._repr_mimebundle_() == {"text/plain": repr(handle), "text/markdown": "Hi "}
    with pytest.raises(TimeoutError, match="still answers"):
        handle.wait(0.01)
    gate.set()
    response = handle.wait(30)
    assert handle.response is response
    assert (handle.done, handle.text, str(handle)) == (True, "Hi there", "Hi there")
    assert repr(handle) == "<Background m done, 8 characters>"
    assert page.live[0] == {"text/plain": "Waiting for m"}
    # the cell that waits sends it once more
    assert page.live[-1] == page.live[-2]
    [bundle] = page.bundles
    assert bundle["text/plain"] == "Hi there\n\n2 tokens"


def test_a_handle_cancels(service, ask, page):
    def forever(body):
        while True:
            yield words("x")[0]
            time.sleep(0.01)

    service.routes[GENERATE] = forever
    handle = ask("m --bg")
    until(lambda: handle.text)
    handle.cancel()
    response = handle.wait(30)
    assert service.gone.wait(10)
    assert not response.done
    assert "cancelled" in repr(handle)
    [bundle] = page.bundles
    assert bundle["text/plain"] == f"{response.text}\n\nCancelled."
    assert page.saved["finish_reason"] == "cancelled"


def test_an_error_is_shown_in_the_cell_and_raised_where_one_waits(service, ask, page):
    service.routes[GENERATE] = lambda body: (503, [{"error": "The queue is full.", "code": "busy"}])
    handle = ask("m --bg")
    with pytest.raises(BusyError) as told:
        handle.wait(30)
    assert told.value._render_traceback_() == ["BusyError: The queue is full."]
    assert repr(handle) == "<Background m failed: BusyError, 0 characters>"
    [bundle] = page.bundles
    assert bundle["text/plain"] == "BusyError: The queue is full."


def test_an_answer_of_another_form_is_an_error_too(service, ask, page):
    service.routes[GENERATE] = lambda body: words("no json")
    handle = ask("m --bg -f json")
    with pytest.raises(InvalidAnswerError):
        handle.wait(30)
    assert handle.text == "no json"
    assert "InvalidAnswerError" in page.bundles[-1]["text/plain"]


def test_it_is_a_turn_of_its_conversation_when_it_ends(service, ask, shell, page):
    service.routes[CHAT] = lambda body: messages("A")
    ask("m --bg -c a", "one").wait(30)
    ask("m -c a", "two")
    assert len(service.bodies(CHAT)[1]["messages"]) == 3


def test_a_terminal_gets_it_in_one_piece(ask, gate, capsys):
    handle = ask("m --bg")
    until(lambda: handle.text)
    assert capsys.readouterr() == ("", "")
    gate.set()
    handle.wait(30)
    assert capsys.readouterr() == ("Hi there\n", "2 tokens\n")


def test_an_unseen_answer_may_grow_too(ask, shell, page, gate):
    handle = ask("kept << m --bg")
    assert shell.user_ns["kept"] is handle
    gate.set()
    assert handle.wait(30).text == "Hi there"
    assert page.bundles[0]["text/plain"] == "the answer is in kept · 2 tokens"
