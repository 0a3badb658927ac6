"""The command `key`: make, list and revoke what lets other programs in."""

import re
from argparse import Namespace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hyperllama_nb.commands import words
from hyperllama_nb.commands.options import Parser, UsageError
from hyperllama_nb.display.tables import Table, human_ago

if TYPE_CHECKING:
    from hyperllama_nb.access.key import Key
    from hyperllama_nb.access.keys import KeyStore
    from hyperllama_nb.commands.context import Context

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_LIFETIME = re.compile(r"([0-9]{1,6})([smhdw])")


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `key`."""
    parser.add_argument(
        "action",
        metavar="ACTION",
        choices=("create", "list", "revoke"),
        help="create, list, revoke",
    )
    parser.add_argument("keys", metavar="KEY", nargs="*", help="revoke: ids or names of keys")
    parser.add_argument(
        "--scope",
        action="append",
        metavar="SCOPES",
        help="create: what it allows, of infer, models:read, models:write, admin; separated by "
        "commas (default infer,models:read)",
    )
    parser.add_argument(
        "--expires", metavar="TIME", help="create: 12h, 30d, 8w or never (default 30d)"
    )
    parser.add_argument("--name", help="create: whom or what it is for")
    parser.add_argument(
        "--requests-per-minute", type=int, metavar="N", help="create: most requests in 60 seconds"
    )
    parser.add_argument(
        "--concurrent", type=int, metavar="N", help="create: most requests that run at once"
    )


def key(context: "Context", args: Namespace) -> Table | str:
    """Make, list or revoke keys; the service need not run."""
    from hyperllama_nb.access.keys import KeyStore

    store = KeyStore()
    options = (args.scope, args.expires, args.name, args.requests_per_minute, args.concurrent)
    if args.action != "create" and any(option is not None for option in options):
        raise UsageError(f"`{context.prog} key {args.action}` takes no options.")
    if args.action != "revoke" and args.keys:
        raise UsageError(f"`{context.prog} key {args.action}` takes no id.")
    if args.action == "create":
        return _create(context, args, store)
    if args.action == "revoke":
        if not args.keys:
            raise UsageError(f"Name the key to revoke: `{context.prog} key list` shows each id.")
        revoked = [store.revoke(which) for which in args.keys]
        ids = words.listing([found.id for found in revoked])
        return f"Revoked {ids}. It counts from the next request on."
    return _list(context, store)


def lifetime(text: str) -> timedelta | None:
    """Read how long a key lives; `never` (to expire) is None.

    >>> lifetime("30d"), lifetime("never")
    (datetime.timedelta(days=30), None)
    """
    if text.strip().lower() == "never":
        return None
    match = _LIFETIME.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"--expires {text} is no time. Write 90m, 12h, 30d, 8w or never.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _create(context: "Context", args: Namespace, store: "KeyStore") -> str:
    from hyperllama_nb.access.keys import DEFAULT_LIFETIME, DEFAULT_SCOPES

    named = [scope.strip() for text in args.scope or () for scope in text.split(",")]
    text, made = store.create(
        [scope for scope in named if scope] if args.scope else DEFAULT_SCOPES,
        name=args.name or "",
        lifetime=DEFAULT_LIFETIME if args.expires is None else lifetime(args.expires),
        requests_per_minute=args.requests_per_minute,
        concurrent=args.concurrent,
    )
    lines = [
        text,
        "",
        "This is shown once; what is stored is a hash of it.",
        f"Key {made.id} allows {words.listing(made.scopes)} and {_end(made)}.",
        f"To use it: export OLLAMA_API_KEY={text}",
        "(or the header Authorization: Bearer KEY).",
        f"To end it: {context.prog} key revoke {made.id}",
    ]
    if context.cell:
        lines.append("A notebook keeps this output: clear it before you share or save the file.")
    return "\n".join(lines)


def _end(made: "Key") -> str:
    if made.expires is None:
        return "never expires"
    return f"expires on {made.expires.astimezone():%Y-%m-%d %H:%M}"


def _list(context: "Context", store: "KeyStore") -> Table | str:
    from hyperllama_nb.access.keys import PREFIX

    keys = store.list()
    if not keys:
        return f"There are no keys. `{context.prog} key create` makes one."
    now = datetime.now(UTC)
    return Table(
        ("ID", "NAME", "KEY", "SCOPES", "LIMITS", "CREATED", "EXPIRES"),
        [
            (
                found.id,
                found.name or words.UNKNOWN,
                f"{PREFIX}\N{HORIZONTAL ELLIPSIS}{found.last_four}",
                words.listing(found.scopes),
                words.listing(_limits(found)),
                human_ago(found.created, now),
                "never" if found.expires is None else _when(found, found.expires, now),
            )
            for found in keys
        ],
    )


def _when(found: "Key", end: datetime, now: datetime) -> str:
    return f"expired {human_ago(end, now)}" if found.expired else human_ago(end, now)


def _limits(found: "Key") -> list[str]:
    limits = []
    if found.requests_per_minute is not None:
        limits.append(f"{found.requests_per_minute} a minute")
    if found.concurrent is not None:
        limits.append(f"{found.concurrent} at once")
    return limits
