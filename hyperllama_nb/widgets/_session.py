"""What a chat has said so far, and the one answer that may be being written."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hyperllama_nb.errors import ConflictError, RequestError
from hyperllama_nb.widgets._transcript import Entry, Note
from hyperllama_nb.widgets._turn import Listener, Turn, figures

if TYPE_CHECKING:
    from threading import RLock

    from hyperllama_nb.client import Stream

Message = dict[str, Any]

_ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Watcher(Listener):
    """Who shows a session; `began` and `ended` are called with its lock held.

    `ended` takes a turn and whether it is kept among the messages.
    """

    began: Callable[[Turn], None]
    ended: Callable[[Turn, bool], None]


class Session:
    """Messages, a note to each, and a running turn; may be used from any thread.

    A turn is all or nothing: question and answer are among the messages once it has ended, and one
    that failed, or was stopped before the first text, leaves them as they were. `lock` guards
    everything and is shared with the watcher.
    """

    def __init__(self, lock: "RLock", watcher: Watcher) -> None:
        self._lock, self._watcher = lock, watcher
        self._entries: list[Entry] = []
        self.running: Turn | None = None
        self.latest: Turn | None = None

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> list[Entry]:
        """Return the messages with their notes."""
        with self._lock:
            return [*self._entries]

    @property
    def messages(self) -> list[Message]:
        """Return a copy of the messages, as plain dicts."""
        return [copy.deepcopy(dict(message)) for message, _ in self.entries]

    def put(self, entries: Sequence[Entry]) -> None:
        """Hold these instead; raises RequestError for what is no message."""
        found: list[Entry] = [(_checked(message), note) for message, note in entries]
        with self._lock:
            self._must_be_idle()
            self._entries = found

    def begin(self, text: str, keep: int, ask: "Callable[[list[Message]], Stream]") -> Turn:
        """Ask after the first `keep` messages; the turn will replace those that follow them.

        `ask` sends messages and returns the stream of the answer. Raises ConflictError while an
        answer is being written.
        """
        if not text.strip():
            raise RequestError("There is nothing to ask: the text is empty.")
        with self._lock:
            self._must_be_idle()
            stream = ask([*self.messages[:keep], {"role": "user", "content": text}])
            turn = self.running = self.latest = Turn(stream, text, keep)
            self._watcher.began(turn)
        return turn

    def follow(self, turn: Turn) -> None:
        """Read a turn to its end and keep what it brought; takes as long as the answer."""
        turn.run(self._watcher, self._keep)

    def last_question(self) -> int:
        """Return the index of the last question; raises RequestError without one."""
        for index, (message, _) in reversed([*enumerate(self.entries)]):
            if message["role"] == "user":
                return index
        raise RequestError("There is no answer to write anew. Ask something first.")

    def question(self, index: int) -> int:
        """Return the index as one from the beginning; raises RequestError for no question's."""
        with self._lock:
            try:
                place = range(len(self))[index]
            except IndexError:
                raise RequestError(
                    f"There is no message {index}: the conversation has {len(self)}."
                ) from None
            if self._entries[place][0]["role"] != "user":
                raise RequestError(f"Message {index} is no question: only those can be edited.")
            return place

    def _keep(self, turn: Turn) -> None:
        with self._lock:
            kept = turn.error is None and bool(turn.text or turn.thinking or not turn.stopped)
            if kept:
                response = turn.response
                answer: Message = {"role": "assistant", "content": turn.text}
                if turn.thinking:
                    answer["thinking"] = turn.thinking
                note = Note(
                    turn.model,
                    figures(response, stopped=turn.stopped),
                    response.usage.total_tokens,
                    (response.get("hyperllama") or {}).get("context_length"),
                )
                question = {"role": "user", "content": turn.question}
                self._entries[turn.keep :] = [(question, Note()), (answer, note)]
            self.running = None
            self._watcher.ended(turn, kept)

    def _must_be_idle(self) -> None:
        if self.running is not None:
            raise ConflictError(
                "An answer is still being written. wait() for it, or stop() it, and try again."
            )


def _checked(message: Mapping[str, Any]) -> Message:
    found = copy.deepcopy(dict(message))
    if found.get("role") not in _ROLES or not isinstance(found.get("content"), str):
        raise RequestError(
            f"{message!r} is no message. Write a dict with `role` ({', '.join(_ROLES)}) and "
            "a text as `content`."
        )
    return found
