"""The conversation in the terminal, with a scripted client and a scripted user."""

import builtins
import sys
from argparse import Namespace

import pytest

from hyperllama_nb.commands import UsageError
from hyperllama_nb.commands.answer import prompt_from
from hyperllama_nb.commands.chat import Chat
from hyperllama_nb.errors import EngineDiedError
from tests.commands.fakes import FakeClient, FakeContext


class Answer:
    def __init__(self, text: str, error: BaseException | None) -> None:
        self.response = Namespace(text=text)
        self.error = error
        self.closed = False

    def close(self) -> None:
        self.closed = True


class ChatClient(FakeClient):
    """Answers with the next of its answers, and keeps what it was asked."""

    def __init__(self, *answers: tuple[str, BaseException | None]) -> None:
        super().__init__()
        self.answers = [Answer(text, error) for text, error in answers]
        self.asked: list[tuple[list[dict[str, str]], dict[str, object]]] = []

    def chat(self, model, messages, *, stream, options, keep_alive):
        self.asked.append(([*messages], dict(options)))
        return self.answers[len(self.asked) - 1]


class ChatContext(FakeContext):
    def stream(self, stream, *, quiet=False):
        if stream.error is not None:
            raise stream.error


def talk(monkeypatch, client, *lines, **options):
    """Type the lines and return the notes; an exception among them is raised instead."""
    typed = iter(lines)

    def read(prompt: str) -> str:
        line = next(typed, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr(builtins, "input", read)
    context = ChatContext(client)
    given = {"model": "smollm2:135m", "system": None, "keep_alive": None, "quiet": False}
    chat = Chat(context, Namespace(**{**given, **options}))
    chat.talk()
    return chat, context.notes


def test_each_answer_becomes_part_of_the_next_question(monkeypatch):
    client = ChatClient(("Hello.", None), ("Paris.", None))
    talk(monkeypatch, client, "Hi", "Capital of France?", "/bye")
    assert [message["content"] for message in client.asked[1][0]] == [
        "Hi",
        "Hello.",
        "Capital of France?",
    ]


def test_an_interrupted_answer_stays_as_far_as_it_came(monkeypatch):
    client = ChatClient(("Once upon", KeyboardInterrupt()), ("Fine.", None))
    chat, _ = talk(monkeypatch, client, "A story", "Thanks")
    assert client.answers[0].closed
    assert [message["content"] for message in chat.messages] == [
        "A story",
        "Once upon",
        "Thanks",
        "Fine.",
    ]


def test_a_question_without_an_answer_is_forgotten_and_the_talk_goes_on(monkeypatch):
    client = ChatClient(("", EngineDiedError("It died.")), ("Yes.", None))
    chat, notes = talk(monkeypatch, client, "One", "Two")
    assert "It died." in notes
    assert [message["content"] for message in chat.messages] == ["Two", "Yes."]


def test_several_lines_between_fences(monkeypatch):
    client = ChatClient(("Ok.", None))
    talk(monkeypatch, client, '"""one', "two", 'three"""')
    assert client.asked[0][0] == [{"role": "user", "content": "one\ntwo\nthree"}]


def test_settings_and_forgetting(monkeypatch):
    client = ChatClient(("A", None), ("B", None))
    _, notes = talk(
        monkeypatch,
        client,
        "/set system Be brief.",
        "/set parameter temperature 0",
        "/set nonsense",
        "/nothing",
        "Hi",
        "/show",
        "/clear",
        "Again",
        KeyboardInterrupt(),
        "   ",
        "/?",
    )
    messages, options = client.asked[1]
    assert options == {"temperature": 0}
    assert [message["content"] for message in messages] == ["Be brief.", "Again"]
    told = "\n".join(notes)
    for words in (
        "temperature is 0.",
        "Write /set system TEXT",
        "There is no /nothing.",
        "2 messages",
        "The conversation is forgotten.",
        "/bye or Ctrl-D leaves.",
        "Ctrl-C stops an answer.",
    ):
        assert words in told


def test_the_prompt_comes_from_standard_input(monkeypatch, tmp_path):
    context = FakeContext()
    (tmp_path / "prompt").write_text("Why?\n")
    for given in (None, "-"):
        with (tmp_path / "prompt").open() as file:
            monkeypatch.setattr(sys, "stdin", file)
            assert prompt_from(context, given) == "Why?\n"
    assert prompt_from(context, "as it is") == "as it is"


def test_an_empty_standard_input_is_no_prompt(monkeypatch, tmp_path):
    (tmp_path / "prompt").write_text(" \n")
    with (tmp_path / "prompt").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        with pytest.raises(UsageError, match="prompt is empty"):
            prompt_from(FakeContext(), None)
