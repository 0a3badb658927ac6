"""Chats in the files in which conversations are kept."""

from collections.abc import Sequence
from pathlib import Path

from hyperllama_nb.errors import RequestError
from hyperllama_nb.widgets._transcript import Entry, Note


def write(path: Path, name: str, entries: Sequence[Entry], *, force: bool) -> None:
    """Write a conversation; raises RequestError unless questions and answers take turns."""
    from hyperllama_nb.magics._chat_files import write as write_file
    from hyperllama_nb.magics._conversations import Conversation, Turn

    roles = [message["role"] for message, _ in entries]
    if roles != ["user", "assistant"] * (len(roles) // 2):
        raise RequestError(
            "The file holds questions and answers in turns, and this conversation is not made of "
            f"those: {', '.join(roles)}. Save `chat.messages` with json.dump instead."
        )
    turns = [
        Turn(None, dict(question), dict(answer), note.model, note.tokens, note.context_length)
        for (question, _), (answer, note) in zip(entries[::2], entries[1::2], strict=True)
    ]
    write_file(Conversation(name, turns), path, force=force)


def read(path: Path) -> tuple[str, list[Entry]]:
    """Return the name of a file's conversation, and its messages; raises RequestError."""
    from hyperllama_nb.magics._chat_files import read as read_file

    found = read_file(path)
    entries: list[Entry] = []
    for turn in found.turns:
        note = Note(turn.model, "", turn.tokens, turn.context_length)
        entries += [(turn.question, Note()), (turn.answer, note)]
    return found.name, entries
