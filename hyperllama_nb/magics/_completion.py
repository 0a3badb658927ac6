"""Tab on a line of `%llm` or `%%llm`: commands, options, choices and names."""

import argparse
import contextlib
import re
import shlex
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from hyperllama_nb.magics._known_names import KnownNames

if TYPE_CHECKING:
    from hyperllama_nb.commands import Parser
    from hyperllama_nb.magics._magics import HyperLlamaMagics

_LINE = re.compile(r"(?:^|[=;])\s*%llm\s+(?P<rest>.*)$")
_CELL = re.compile(r"^\s*%%llm\s+(?:[^\W\d]\w*\s*<<\s+)?(?P<rest>.*)$")
_UNSAFE = re.compile(r"[^\w@%+=:,./~-]")

_MANY = ("*", "+")


class Completer:
    """Completes the lines of the magics of one shell."""

    def __init__(self, magics: "HyperLlamaMagics") -> None:
        self.names = KnownNames(magics)

    @context_matcher(identifier="hyperllama", priority=1000)  # type: ignore[untyped-decorator]
    def match(self, context: CompletionContext) -> dict[str, Any]:
        """Return what can stand at the cursor; IPython asks this of each of its matchers.

        Where it knows something, the others are not asked. It never raises: a Tab must do no harm.
        """
        fragment, found = "", list[str]()
        with contextlib.suppress(Exception):
            fragment, found = self.complete(_before_cursor(context), first=_is_first_line(context))
        return {
            "completions": [SimpleCompletion(text=each, type="magic") for each in found],
            "matched_fragment": fragment,
            "suppress": bool(found),
            "ordered": True,
        }

    def complete(self, line: str, *, first: bool = True) -> tuple[str, list[str]]:
        """Return the part of a line that is to be replaced, and what can replace it.

        `line` ends at the cursor; `first` says that it is the first of its cell, where alone a
        `%%llm` can stand.
        """
        cell = _CELL.match(line) if first else None
        found = cell or _LINE.search(line)
        if found is None:
            return "", []
        done, raw = _split(found["rest"])
        words = shlex.split(done)
        if cell:
            from hyperllama_nb.magics._arguments import build_parser

            return self._argument(build_parser(), "", words, raw)
        if words in ([], ["help"]):
            return raw, _beginning_with(raw, _commands())
        parser = _parser(words[0])
        return ("", []) if parser is None else self._argument(parser, words[0], words[1:], raw)

    def _argument(
        self, parser: "Parser", command: str, words: list[str], raw: str
    ) -> tuple[str, list[str]]:
        """Complete an argument: `words` are those before it, `raw` is what is typed of it."""
        options, positionals = _by_name(parser)
        given, waiting, position = _walk(words, options)
        name, equals, value = raw.partition("=")
        if waiting:
            return raw, self._values(waiting[0], command, raw) if waiting[0] else []
        if equals and name in options:
            return value, self._values(options[name], command, value)
        found: list[str] = []
        if positionals and not raw.startswith("-"):
            place = min(position, len(positionals) - 1)
            if position == place or positionals[place].nargs in _MANY:
                found = self._values(positionals[place], command, raw)
        if not raw or raw.startswith("-"):
            found += _beginning_with(raw, [*_flags(options, given), "--help"])
        return raw, found

    def _values(self, action: argparse.Action, command: str, raw: str) -> list[str]:
        """Return what can stand for an argument, quoted where a shell's reader needs it."""
        quote = raw[:1] if raw[:1] in {"'", '"'} else ""
        typed = raw[len(quote) :].replace("\\", "")
        names = _beginning_with(typed, self._candidates(action, command, typed))
        return [_quoted(name, quote) for name in names]

    def _candidates(self, action: argparse.Action, command: str, typed: str) -> Iterable[str]:
        from hyperllama_nb.commands.options import OPTIONS
        from hyperllama_nb.magics._arguments import THINK

        names, metavar = self.names, action.metavar
        if action.choices is not None:
            return [str(choice) for choice in action.choices]
        if metavar in {"MODEL", "PATTERN", "TARGET"}:
            if command == "pull":
                return names.catalog()
            return names.loaded() if command == "unload" else names.models()
        if action.dest == "file":
            return names.files(typed)
        known: dict[str, Callable[[], Iterable[str]]] = {
            "chat": names.chats,
            "alias": names.aliases,
            "backend": names.backends,
            "setting": names.settings,
            "out": names.variables,
            "schema": names.variables,
            "think": lambda: THINK,
            "option": lambda: sorted(OPTIONS),
        }
        return known[action.dest]() if action.dest in known else ()


def _before_cursor(context: CompletionContext) -> str:
    return str(context.full_text.split("\n")[context.cursor_line][: context.cursor_position])


def _is_first_line(context: CompletionContext) -> bool:
    """Tell whether nothing but empty lines is above the cursor."""
    return not "".join(context.full_text.split("\n")[: context.cursor_line]).strip()


def _commands() -> list[str]:
    from hyperllama_nb.commands import COMMANDS
    from hyperllama_nb.magics._kernel_commands import KERNEL_COMMANDS

    return [*KERNEL_COMMANDS, *COMMANDS, "help"]


def _parser(command: str) -> "Parser | None":
    from hyperllama_nb.commands import COMMANDS
    from hyperllama_nb.magics._kernel_commands import KERNEL_COMMANDS, PROG

    if command in KERNEL_COMMANDS:
        return KERNEL_COMMANDS[command].parser()
    return COMMANDS[command].parser(PROG) if command in COMMANDS else None


def _split(text: str) -> tuple[str, str]:
    r"""Part a line before its last word, which may be open.

    >>> _split("load -m sm"), _split("load "), _split("save 'my tr")
    (('load -m ', 'sm'), ('load ', ''), ('save ', "'my tr"))
    """
    start, quote, escaped = 0, "", False
    for index, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char.isspace():
            start = index + 1
    return text[:start], text[start:]


def _by_name(parser: "Parser") -> tuple[dict[str, argparse.Action], list[argparse.Action]]:
    """Return the options by each of their names, and the positional arguments."""
    actions = parser.actions()
    options = {name: action for action in actions for name in action.option_strings}
    return options, [action for action in actions if not action.option_strings]


def _walk(
    words: list[str], options: dict[str, argparse.Action]
) -> tuple[set[str], list[argparse.Action | None], int]:
    """Return the options that were given, those that wait for a value, and the position."""
    given: set[str] = set()
    waiting: list[argparse.Action | None] = []
    position = 0
    for word in words:
        if waiting:
            waiting.pop(0)
            continue
        name, equals, _ = word.partition("=")
        action = options.get(name)
        if action is not None:
            given.add(action.dest)
            length = action.nargs if isinstance(action.nargs, int) else 1
            # of several values only the first is a name that can be known
            waiting = [] if equals or not length else [action, *[None] * (length - 1)]
        elif not word.startswith("-"):
            position += 1
    return given, waiting, position


def _flags(options: dict[str, argparse.Action], given: set[str]) -> list[str]:
    """Return the options that may still come, each in the spelling that the help gives first."""
    repeated = argparse._AppendAction  # noqa: SLF001
    return [
        name
        for name, action in options.items()
        if name.startswith("--")
        and "_" not in name
        and (action.dest not in given or isinstance(action, repeated))
    ]


def _beginning_with(typed: str, names: Iterable[str]) -> list[str]:
    wanted = typed.casefold()
    return [name for name in dict.fromkeys(names) if name.casefold().startswith(wanted)]


def _quoted(name: str, quote: str) -> str:
    """Return a name as it can be typed; an open quote is closed."""
    if quote and quote not in name:
        # a directory is not the end of a path
        return f"{quote}{name}" + ("" if name.endswith("/") else quote)
    return shlex.quote(name) if _UNSAFE.search(name) else name
