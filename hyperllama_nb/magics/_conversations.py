"""The conversations of this kernel: each turn belongs to the cell that asked."""

import copy
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

Message = dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """A question and its answer, as messages of `/api/chat`.

    `cell` is the id that the front end gives the cell; None where it gives none. `tokens` is what
    question and answer take of the context together with all that was said before, as the engine
    counted; None where that is not known, or no longer true. `context_length` is in tokens.
    """

    cell: str | None
    question: Message
    answer: Message
    model: str | None = None
    tokens: int | None = None
    context_length: int | None = None

    def without_count(self) -> "Turn":
        """Return the turn after what was said before it has changed."""
        return Turn(self.cell, self.question, self.answer, self.model)

    @property
    def messages(self) -> list[Message]:
        """Return question and answer."""
        return [self.question, self.answer]


class Conversation(Sequence[Message]):
    """The messages of one conversation, as plain dicts; changing them changes nothing in it."""

    def __init__(self, name: str, turns: Sequence[Turn] = ()) -> None:
        self.name = name
        self.turns = tuple(turns)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> list[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | list[Message]:
        return self.messages[index]

    def __len__(self) -> int:
        return 2 * len(self.turns)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Sequence) and not isinstance(other, str):
            return self.messages == [*other]
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    @property
    def messages(self) -> list[Message]:
        """Return a copy of all messages, ready for `hl.chat(model, messages)`."""
        return copy.deepcopy([message for turn in self.turns for message in turn.messages])

    @property
    def model(self) -> str | None:
        """Return the model that answered last."""
        return self.turns[-1].model if self.turns else None

    @property
    def tokens(self) -> int | None:
        """Return how much of the context it takes, as counted with the last answer."""
        return self.turns[-1].tokens if self.turns else None

    @property
    def context_length(self) -> int | None:
        """Return the length of the context of the last answer in tokens."""
        return self.turns[-1].context_length if self.turns else None

    @property
    def used(self) -> str:
        """Return the tokens against the context, such as `310 of 4096`; `-` if unknown."""
        if self.tokens is None:
            return "-"
        return f"{self.tokens}" + (f" of {self.context_length}" if self.context_length else "")

    def __repr__(self) -> str:
        """Return its name and size in one line."""
        turns = f"{len(self.turns)} turn{'' if len(self.turns) == 1 else 's'}"
        tokens = "" if self.tokens is None else f", {self.used} tokens"
        return f"<Conversation {self.name!r}, {turns}{tokens}>"

    def __str__(self) -> str:
        """Return all that was said, each message under who said it."""
        return "\n\n".join(f"{who}:\n{text}" for who, text in self._said()) or "Nothing was said."

    def _repr_markdown_(self) -> str:
        from hyperllama_nb.display.fences import close_fence
        from hyperllama_nb.display.harmless import harmless

        said = [f"**{who}**\n\n{harmless(close_fence(text))}" for who, text in self._said()]
        return "\n\n---\n\n".join(said) or "Nothing was said."

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        # IPython's own text form would be the one line
        return {"text/plain": str(self), "text/markdown": self._repr_markdown_()}

    def _said(self) -> Iterator[tuple[str, str]]:
        for turn in self.turns:
            for message in turn.messages:
                user = message.get("role") == "user"
                yield "You" if user else turn.model or "Model", str(message.get("content") or "")


class Conversations(Mapping[str, Conversation]):
    """All conversations by name, in the order of their beginning; may be used from any thread."""

    def __init__(self) -> None:
        self._turns: dict[str, list[Turn]] = {}
        self._asked: dict[tuple[str, str], int] = {}
        self._latest: str | None = None
        self._lock = threading.RLock()

    def __getitem__(self, name: str) -> Conversation:
        with self._lock:
            return Conversation(name, self._turns[name])

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            return iter([*self._turns])

    def __len__(self) -> int:
        return len(self._turns)

    def __repr__(self) -> str:
        """Return the names and sizes."""
        return f"<Conversations {', '.join(repr(self[name]) for name in self) or 'none'}>"

    @property
    def latest(self) -> str | None:
        """Return the name of the conversation that got the last turn; None without any."""
        with self._lock:
            if self._latest in self._turns:
                return self._latest
            return next(reversed(self._turns), None)

    def begin(self, *_: Any) -> None:
        """Note that a cell begins to run: what it asks first replaces what it asked first before.

        A cell may ask several times in a loop; only a new run of it replaces its turns.
        """
        with self._lock:
            self._asked.clear()

    def end(self, result: Any) -> None:
        """Note that a cell has ended (IPython's ExecutionResult): what it no longer asks goes."""
        cell = getattr(result.info, "cell_id", None)
        if cell is None or not result.success:
            return
        with self._lock:
            for name, turns in self._turns.items():
                asked = self._asked.get((name, cell), 0)
                own = [index for index, turn in enumerate(turns) if turn.cell == cell]
                # a cell that asked nothing may have begun an answer that is still growing
                left_over = own[asked:] if asked else []
                for index in reversed(left_over):
                    turns[index:] = [later.without_count() for later in turns[index + 1 :]]

    def before(self, name: str, cell: str | None) -> list[Message]:
        """Return the messages that precede the turn of this cell.

        Those are all messages if the conversation has no turn of it yet, or `cell` is None.
        """
        with self._lock:
            turns = self._turns.get(name, [])
            place = self._place(name, cell)
            return Conversation(name, turns[:place]).messages

    def keep(
        self,
        name: str,
        cell: str | None,
        question: Message,
        answer: Message,
        *,
        model: str | None = None,
        tokens: int | None = None,
        context_length: int | None = None,
    ) -> None:
        """Put a turn in the place of the one that this cell had; append it if it had none.

        Later turns stay, and their counts go if the turn says something else now. `tokens` is the
        usage of the answer: its prompt, which held all that was said before, and itself.
        """
        question, answer = copy.deepcopy((question, answer))
        turn = Turn(cell, question, answer, model, tokens, context_length)
        with self._lock:
            turns = self._turns.setdefault(name, [])
            place = self._place(name, cell)
            self._latest = name
            if cell is not None:
                self._asked[name, cell] = self._asked.get((name, cell), 0) + 1
            if place == len(turns):
                turns.append(turn)
                return
            if turns[place].messages != turn.messages:
                turns[place + 1 :] = [later.without_count() for later in turns[place + 1 :]]
            turns[place] = turn

    def put(self, conversation: Conversation) -> None:
        """Hold this conversation under its name, in place of what had it."""
        with self._lock:
            self._turns[conversation.name] = [*conversation.turns]
            self._latest = conversation.name

    def reset(self, name: str | None = None) -> list[str]:
        """Forget one conversation, or all; returns their names. Raises KeyError for no such one."""
        with self._lock:
            names = [*self._turns] if name is None else [name]
            for each in names:
                del self._turns[each]
            return names

    def _place(self, name: str, cell: str | None) -> int:
        """Return the index at which the next turn of a cell stands."""
        turns = self._turns.get(name, [])
        if cell is None:
            return len(turns)
        own = [index for index, turn in enumerate(turns) if turn.cell == cell]
        asked = self._asked.get((name, cell), 0)
        return own[asked] if asked < len(own) else len(turns)


conversations = Conversations()
"""Those of this process: loading the extension again does not lose them."""
