"""The chat: a conversation with a model, shown while it is written."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from traitlets import Bool, Dict, List, Unicode

from hyperllama_nb.client import Client, client
from hyperllama_nb.commands.words import plural
from hyperllama_nb.display.streaming import GenerationInterrupted
from hyperllama_nb.errors import HyperLlamaError, RequestError
from hyperllama_nb.models.catalog import DEFAULT_MODEL
from hyperllama_nb.runtime import last_model
from hyperllama_nb.widgets._base import Widget, css, esm
from hyperllama_nb.widgets._session import Message, Session, Watcher
from hyperllama_nb.widgets._transcript import Note, as_html, as_text

if TYPE_CHECKING:
    from hyperllama_nb.client import Response, Stream
    from hyperllama_nb.widgets._turn import Turn

PARAMETERS = ("temperature", "top_p", "num_predict", "seed", "num_ctx")
"""The options that the front end offers; `options` takes all of Ollama's."""

_PATIENCE = 15.0
"""Seconds to wait for the end of an answer that was told to stop."""


class Chat(Widget):
    """A conversation with a model: displayed, it is a chat; to Python, a list of messages.

    `model` is the model's name, by default the one that was run last. `system` is the system
    message and `options` are Ollama's options, for the answers that follow; all three can be
    assigned at any time. `messages` is what was said before, as dicts with `role` and `content`;
    `name` is the title. Answers are written in a thread of their own, so that cells can run.

    Example: `chat = Chat("smollm2:135m", system="Be brief."); chat.ask("Why is it dark?").text`
    """

    _esm = esm("chat.js")
    _css = css("chat.css")
    model = Unicode().tag(sync=True)
    system = Unicode().tag(sync=True)
    options = Dict(key_trait=Unicode()).tag(sync=True)
    name = Unicode().tag(sync=True)
    _log: List[dict[str, Any]] = List().tag(sync=True)
    _models: List[str] = List().tag(sync=True)
    _busy = Bool().tag(sync=True)

    def __init__(
        self,
        model: str | None = None,
        *,
        system: str = "",
        options: Mapping[str, Any] | None = None,
        messages: Sequence[Mapping[str, Any]] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        watcher = Watcher(self._status, self._delta, self._began, self._finished)
        self._session = Session(self._lock, watcher)
        self.model = model or last_model() or DEFAULT_MODEL
        self.system, self.options, self.name = system, dict(options or {}), name or ""
        self.messages = [*(messages or ())]

    @property
    def messages(self) -> list[Message]:
        """Return a copy of what was said, ready for `hl.chat(model, messages)`; it can be assigned.

        The system message is apart, in `system`; an answer is in it once it has ended.
        """
        return self._session.messages

    @messages.setter
    def messages(self, messages: Sequence[Mapping[str, Any]]) -> None:
        self._session.put([(message, Note()) for message in messages])
        self._show()
        self._refresh()

    def ask(self, text: str) -> "Response":
        """Ask, wait for the answer and return it.

        Raises the error of the answer, after which the conversation is what it was before, and
        GenerationInterrupted after an interrupt of the kernel. An answer that somebody stopped is
        returned with `done` False, and kept as far as it got.
        """
        return self._wait(self._begin(text, len(self)))

    def regenerate(self) -> "Response":
        """Write the last answer anew, and return it; raises what `ask` does."""
        return self._wait(self._again())

    def edit(self, index: int, text: str) -> "Response":
        """Change the question at this index of `messages`, drop what follows it, and ask again."""
        return self._wait(self._begin(text, self._session.question(index)))

    def wait(self) -> "Response | None":
        """Wait for the answer that is being written, and return it; else return the last one.

        Raises what `ask` does. None if nothing was asked yet.
        """
        latest = self._session.latest
        return None if latest is None else self._wait(latest)

    def stop(self) -> None:
        """Stop the answer that is being written, if there is one; what has arrived is kept."""
        running = self._session.running
        if running is not None:
            running.stop()

    def clear(self) -> None:
        """Forget what was said."""
        self.messages = []

    def save(self, path: "str | PathLike[str]", *, force: bool = False) -> None:
        """Write the conversation into a file that `%llm restore` reads, for its owner alone.

        Raises ConflictError for a file that holds something else, unless `force`.
        """
        from hyperllama_nb.widgets import _files

        _files.write(Path(path), self.name or "chat", self._session.entries, force=force)

    @classmethod
    def load(cls, path: "str | PathLike[str]", model: str | None = None, **settings: Any) -> Self:
        """Return a chat that goes on with the conversation of a file; `settings` are those of Chat.

        The model is the one that answered last, unless another is named.
        """
        from hyperllama_nb.widgets import _files

        name, entries = _files.read(Path(path))
        used = next((note.model for _, note in reversed(entries) if note.model), None)
        chat = cls(model or used, **{"name": name, **settings})
        chat._session.put(entries)
        chat._show()
        return chat

    def finish(self) -> None:
        """Stop a running answer, and leave the transcript in the place of the widget."""
        session: Session | None = getattr(self, "_session", None)
        running = None if session is None else session.running
        if running is not None:
            running.stop()
            running.wait(_PATIENCE)
        super().finish()

    def __len__(self) -> int:
        return len(self._session)

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)

    def __getitem__(self, index: int) -> Message:
        return self.messages[index]

    def __repr__(self) -> str:
        """Return the model and the number of messages in one line."""
        name = f" {self.name!r}" if self.name else ""
        return f"<Chat{name} with {self.model}, {plural(len(self), 'message')}>"

    def _began(self, turn: "Turn") -> None:
        self._busy = True
        self._tell("begin", keep=turn.keep, question=turn.question, model=turn.model)

    def _status(self, line: str) -> None:
        self._tell("status", text=line)

    def _delta(self, text: str, thinking: str, at: tuple[int, int]) -> None:
        self._tell("delta", text=text, thinking=thinking, at=at)

    def _finished(self, turn: "Turn", kept: bool) -> None:
        self._show()
        if not kept:
            message = "" if turn.error is None else str(turn.error) or type(turn.error).__name__
            self._tell("failed", message=message, question=turn.question)
        self._refresh()

    def _begin(self, text: str, keep: int) -> "Turn":
        def ask(messages: list[Message]) -> "Stream":
            first = [{"role": "system", "content": self.system}] if self.system else []
            options = dict(self.options) or None
            return client().chat(self.model, [*first, *messages], stream=True, options=options)

        turn = self._session.begin(text, keep, ask)
        self._start(self._session.follow, turn, name="chat")
        return turn

    def _again(self) -> "Turn":
        place = self._session.last_question()
        return self._begin(str(self[place]["content"]), place)

    def _wait(self, turn: "Turn") -> "Response":
        try:
            # with a limit of time, since on some systems an interrupt does not end a wait without
            while not turn.wait(0.2):
                pass
        except KeyboardInterrupt:
            turn.stop()
            turn.wait(_PATIENCE)
            raise GenerationInterrupted(turn.response) from None
        if turn.error is not None:
            raise turn.error
        return turn.response

    def _show(self) -> None:
        """Give the views the whole conversation."""
        with self._lock, self.hold_sync():
            self._busy = self._session.running is not None
            self._log = [
                {**message, "model": note.model, "figures": note.figures}
                for message, note in self._session.entries
            ]

    def _received(self, message: Mapping[str, Any]) -> None:
        match message:
            case {"type": "ready"}:
                self._repeat()
                self._start(self._glance, name="chat-models")
            case {"type": "models"}:
                self._start(self._list, client(), self._status, name="chat-models")
            case {"type": "send", "text": str(text)}:
                self._begin(text, len(self))
            case {"type": "stop"}:
                self.stop()
            case {"type": "regenerate"}:
                self._again()
            case {"type": "edit", "index": int(index), "text": str(text)}:
                self._begin(text, self._session.question(index))
            case {"type": "clear"}:
                self.clear()
            case {"type": "model", "value": str(value)}:
                self.model = value
            case {"type": "system", "value": str(value)}:
                self.system = value
            case {"type": "option", "name": str(name), "value": value} if name in PARAMETERS:
                rest = {key: kept for key, kept in self.options.items() if key != name}
                self.options = rest if value is None else {**rest, name: value}
            case _:
                raise RequestError(f"The chat does not know the message {message!r}.")

    def _repeat(self) -> None:
        """Tell a view that was opened late of the answer that is being written."""
        with self._lock:
            turn = self._session.running
            if turn is not None:
                self._began(turn)
                self._status(turn.line)
                self._delta(turn.text, turn.thinking, (0, 0))

    def _glance(self) -> None:
        """List the models if a service runs: to show a chat starts none."""
        with Client(start=False) as idle:
            self._list(idle, lambda _: None)

    def _list(self, asked: Client, tell: Callable[[str], None]) -> None:
        try:
            names = [str(model["name"]) for model in asked.list()["models"]]
        except HyperLlamaError as error:
            tell(str(error))
            return
        with self._lock:
            self._models = names

    def _caption(self) -> str:
        questions = sum(message["role"] == "user" for message, _ in self._session.entries)
        return f"{self.name or 'Chat'} with {self.model}, {plural(questions, 'question')}"

    def _text(self) -> str:
        return as_text(self._caption(), self.system, self._session.entries)

    def _html(self) -> str:
        return as_html(self._caption(), self.system, self._session.entries)
