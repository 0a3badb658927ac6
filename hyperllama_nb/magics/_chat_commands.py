"""The commands on conversations: `chats`, `history`, `reset`, `save`, `restore`."""

import difflib
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from hyperllama_nb.commands.options import Parser, UsageError
from hyperllama_nb.commands.words import known, listing, plural
from hyperllama_nb.display.tables import Table
from hyperllama_nb.errors import ConflictError

if TYPE_CHECKING:
    from hyperllama_nb.magics._conversations import Conversation, Conversations
    from hyperllama_nb.magics._magics import HyperLlamaMagics

NONE = "There is no conversation yet. `%%llm -c NAME` begins one."


def chats(magics: "HyperLlamaMagics", args: Namespace) -> Table | str:  # noqa: ARG001
    """Return the conversations, with what each takes of its model's context."""
    found = magics.conversations
    if not found:
        return NONE
    return Table(
        ("NAME", "TURNS", "MODEL", "CONTEXT"),
        [
            (name, str(len(each.turns)), known(each.model), each.used)
            for name, each in found.items()
        ],
    )


def add_history_arguments(parser: Parser) -> None:
    """Add the arguments of `history`."""
    parser.add_argument("chat", metavar="NAME", nargs="?", help="the one used last when missing")


def history(magics: "HyperLlamaMagics", args: Namespace) -> "Conversation | str":
    """Return a conversation, which shows itself."""
    name = args.chat or magics.conversations.latest
    return NONE if name is None else find(magics.conversations, name)


def add_reset_arguments(parser: Parser) -> None:
    """Add the arguments of `reset`."""
    parser.add_argument("chat", metavar="NAME", nargs="?", help="may be left out if there is one")
    parser.add_argument("--all", action="store_true", help="every conversation")


def reset(magics: "HyperLlamaMagics", args: Namespace) -> str:
    """Forget a conversation, or all."""
    held = magics.conversations
    if args.all and args.chat:
        raise UsageError("Name a conversation or say --all, not both.")
    if args.all or not held:
        names = held.reset()
        return f"Forgot {listing(names)}." if names else NONE
    if not args.chat and len(held) > 1:
        raise UsageError(
            f"There are several conversations: {listing([*held])}. Name one, or use --all."
        )
    name = args.chat or next(iter(held))
    turns = plural(len(find(held, name).turns), "turn")
    held.reset(name)
    return f"Forgot {name} ({turns})."


def add_save_arguments(parser: Parser) -> None:
    """Add the arguments of `save`."""
    parser.add_argument("chat", metavar="NAME", help="the conversation")
    parser.add_argument("file", metavar="FILE", help="where to write it, as JSON")
    parser.add_argument(
        "--force", action="store_true", help="replace a file that holds something else"
    )


def save(magics: "HyperLlamaMagics", args: Namespace) -> str:
    """Write a conversation into a file that its owner alone can read."""
    from hyperllama_nb.magics import _chat_files

    found = find(magics.conversations, args.chat)
    path = Path(args.file).expanduser()
    _chat_files.write(found, path, force=args.force)
    return f"{path} holds {plural(len(found.turns), 'turn')} of {found.name}."


def add_restore_arguments(parser: Parser) -> None:
    """Add the arguments of `restore`."""
    parser.add_argument("file", metavar="FILE", help="what `save` has written")
    parser.add_argument(
        "--as", dest="name", metavar="NAME", help="the name to give it, in place of its own"
    )
    parser.add_argument("--force", action="store_true", help="replace a conversation of that name")


def restore(magics: "HyperLlamaMagics", args: Namespace) -> str:
    """Read a conversation from a file; its cells go on to replace their turns."""
    from hyperllama_nb.magics import _chat_files

    found = _chat_files.read(Path(args.file).expanduser(), args.name)
    present = magics.conversations.get(found.name)
    if present is not None and not args.force and present.turns != found.turns:
        raise ConflictError(
            f"There is a conversation {found.name} already, with "
            f"{plural(len(present.turns), 'turn')}. Give this one another name with --as, or "
            "replace that one with --force."
        )
    magics.conversations.put(found)
    return f"{found.name} is here again, with {plural(len(found.turns), 'turn')}."


def find(held: "Conversations", name: str) -> "Conversation":
    """Return a conversation; raises UsageError with a close match for an unknown name."""
    if name in held:
        return held[name]
    if not held:
        raise UsageError(f"There is no conversation {name!r}. `%%llm -c {name}` begins it.")
    close = difflib.get_close_matches(name, held, n=1)
    advice = f"Did you mean {close[0]!r}?" if close else f"There are: {listing([*held])}."
    raise UsageError(f"There is no conversation {name!r}. {advice}")
