"""Conversations in files: JSON that says what it is, written whole or not at all."""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from hyperllama_nb.errors import ConflictError, RequestError
from hyperllama_nb.magics._conversations import Conversation, Turn

FORMAT = "hyperllama-conversation"
VERSION = 1

ROLES = {"question": "user", "answer": "assistant"}


def write(conversation: Conversation, path: Path, *, force: bool = False) -> None:
    """Write a conversation, readable by its owner alone; an older one in its place goes.

    The file appears by a rename: it is never seen half written. Raises ConflictError for a file
    that holds something else, unless `force`, and RequestError if it cannot be written.
    """
    if not force and path.exists() and not _is_ours(path):
        raise ConflictError(
            f"{path} exists and holds no conversation. Choose another name, or replace it "
            "with --force."
        )
    text = json.dumps(_record(conversation), ensure_ascii=False, indent=1) + "\n"
    scratch = None
    try:
        # a file made this way has mode 0600 from the beginning
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with open(handle, "w", encoding="utf-8") as file:  # noqa: PTH123 - it is open already
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).replace(path)
    except OSError as error:
        raise RequestError(
            f"{path} cannot be written: {error.strerror}. Choose another place."
        ) from error
    finally:
        if scratch is not None:
            with contextlib.suppress(OSError):
                Path(scratch).unlink()


def read(path: Path, name: str | None = None) -> Conversation:
    """Return the conversation of a file, under `name` or else under the name that it has there.

    Raises RequestError, which says what is wrong, for a file that is missing, damaged, of another
    kind, or of a later version.
    """
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise RequestError(
            f"{path} cannot be read: {error.strerror}. Check the name; `%llm save` writes such "
            "files."
        ) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"it is no JSON ({error})") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise RequestError(
            f"{path} holds no conversation: a file of `%llm save` says "
            f'"format": "{FORMAT}". Name such a file.'
        )
    if found.get("version") != VERSION:
        raise RequestError(
            f"{path} is written in version {found.get('version')} of its format, and this is "
            f"version {VERSION}. Update hyperllama_nb and restore again."
        )
    turns = found.get("turns")
    if not isinstance(turns, list):
        raise _damaged(path, "`turns` is no list")
    own = found.get("name")
    if not isinstance(own, str) or not own:
        raise _damaged(path, "it has no `name`")
    return Conversation(
        name or own, [_turn(path, index, turn) for index, turn in enumerate(turns, 1)]
    )


def _record(conversation: Conversation) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": conversation.name,
        "turns": [vars(turn) for turn in conversation.turns],
    }


def _turn(path: Path, index: int, found: Any) -> Turn:
    """Check one turn of a file; fields that a later release may add are ignored."""

    def field(name: str, kind: type) -> Any:
        value = found.get(name)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise _damaged(path, f"`{name}` of turn {index} is no {kind.__name__}")
        return value

    if not isinstance(found, dict):
        raise _damaged(path, f"turn {index} is no object")
    for name, role in ROLES.items():
        message = found.get(name)
        if (
            not isinstance(message, dict)
            or message.get("role") != role
            or not isinstance(message.get("content"), str)
        ):
            raise _damaged(path, f"`{name}` of turn {index} is no message of the {role}")
    return Turn(
        field("cell", str),
        found["question"],
        found["answer"],
        field("model", str),
        field("tokens", int),
        field("context_length", int),
    )


def _is_ours(path: Path) -> bool:
    """Tell whether a file holds a conversation, even one of which only the beginning is left."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return FORMAT.encode() in file.read(100)
    return False


def _damaged(path: Path, what: str) -> RequestError:
    return RequestError(
        f"{path} is damaged: {what}. Nothing was restored, and what the kernel holds is as before."
    )
