"""Options that several commands and `%%llm` share, under Ollama's names."""

import argparse
import difflib
import json
from collections.abc import Callable, Sequence
from typing import IO, Any, NoReturn

from hyperllama_nb.errors import RequestError


class UsageError(RequestError):
    """A command line that does not follow the grammar; `usage` is the parser's usage line."""

    code = "usage"

    def __init__(self, message: str, usage: str = "") -> None:
        super().__init__(message)
        self.usage = usage


class HelpShown(Exception):  # noqa: N818 - it is an outcome, not an error
    """The parser printed its help; nothing is left to do."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of ending the process, so that a kernel can use it."""

    def __init__(
        self, prog: str, description: str | None = None, epilog: str | None = None
    ) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse options and positional arguments in any order.

        Raises UsageError, with a close match for a mistyped option, and HelpShown after `--help`.
        """
        if self.usage is None:
            # argparse formats the usage a second time, and a name such as `%llm` is no format
            self.usage = self.format_usage().removeprefix("usage: ").replace("%", "%%")
        args, unknown = self.parse_known_intermixed_args(list(argv))
        if unknown:
            self.error(self._unknown(unknown))
        return args

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        sentence = message[:1].upper() + message[1:]
        raise UsageError(
            f"{sentence}{'' if sentence.endswith('?') else '.'} See `{self.prog} --help`.",
            self.format_usage().strip(),
        ) from None

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:  # noqa: ARG002
        """Raise HelpShown; argparse calls this after it printed the help."""
        raise HelpShown

    def print_help(self, file: "IO[str] | None" = None) -> None:  # type: ignore[override]
        """Print the help where the caller's text goes."""
        print(self.format_help(), file=file, end="")

    def actions(self) -> list[argparse.Action]:
        """Return what the parser knows, as argparse holds it; `--help` is left out."""
        help_ = argparse._HelpAction  # noqa: SLF001
        return [action for action in self._actions if not isinstance(action, help_)]

    def arguments(self) -> list[tuple[str, str]]:
        """Return each argument as it is written, with its help; `--help` is left out."""
        found: list[tuple[str, str]] = []
        for action in self.actions():
            values = action.metavar if action.nargs != 0 else None
            if values is None and action.nargs != 0:
                values = action.dest.upper()
            shown = " ".join(values) if isinstance(values, tuple) else values or ""
            names = [name for name in action.option_strings if "_" not in name]
            written = f"{', '.join(names)} {shown}".strip()
            found.append((written, (action.help or "") % {"prog": self.prog}))
        return found

    def _unknown(self, unknown: Sequence[str]) -> str:
        first = next((text for text in unknown if text.startswith("-")), unknown[0])
        if not first.startswith("-"):
            return f"unexpected argument {first!r}; a text with spaces needs quotes"
        known = [text for action in self._actions for text in action.option_strings]
        close = difflib.get_close_matches(first.partition("=")[0], known, n=1)
        return f"unknown option {first}" + (f"; did you mean {close[0]}?" if close else "")


def as_value(text: str) -> Any:
    """Read a value as JSON; what is not JSON is a text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


_SAMPLING: tuple[tuple[str, Callable[[str], Any], str, str], ...] = (
    ("temperature", float, "T", "0 always takes the most probable token"),
    ("top_k", int, "K", "sample among the K most probable tokens"),
    ("top_p", float, "P", "sample among the most probable tokens that sum up to P"),
    ("min_p", float, "P", "drop tokens below P times the best token's probability"),
    ("typical_p", float, "P", "drop tokens that are unusually likely or unlikely; 1 is off"),
    ("seed", int, "N", "same seed, same answer"),
    ("num_predict", int, "N", "stop after N tokens"),
    ("num_ctx", int, "N", "context length in tokens"),
    ("num_keep", int, "N", "tokens of the prompt's beginning that stay when the context is full"),
    ("repeat_last_n", int, "N", "how many tokens back the repeat penalty looks"),
    ("repeat_penalty", float, "X", "above 1 discourages tokens that occurred before"),
    ("presence_penalty", float, "X", "lower the odds of tokens that occurred"),
    ("frequency_penalty", float, "X", "lower the odds of tokens by how often they occurred"),
)
_ELSEWHERE = (
    "draft_num_predict f16_kv logits_all low_vram main_gpu mirostat mirostat_eta mirostat_tau "
    "num_batch num_gpu num_thread numa penalize_newline tfs_z use_mlock use_mmap vocab_only"
)
"""Options that Ollama has or had and that have no effect here; another service may heed them."""

OPTIONS = frozenset(
    {name for name, *_ in _SAMPLING} | {"stop", "backend", "ignore_eos"} | set(_ELSEWHERE.split())
)
"""All of Ollama's options, and `backend` and `ignore_eos`."""

_LOAD = ("num_ctx",)
_ALIASES = {"num_predict": ("--max-tokens",)}


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Add the options that shape an answer; read them with `options_from`."""
    group = parser.add_argument_group("sampling")
    for name, kind, metavar, text in _SAMPLING:
        _add(group, name, kind, metavar, text)
    group.add_argument(
        "--stop", action="append", metavar="TEXT", help="stop before TEXT; may be given repeatedly"
    )
    _add_backend(group)
    group.add_argument(
        "-o",
        "--option",
        action="append",
        nargs=2,
        metavar=("NAME", "VALUE"),
        help="any other of Ollama's options, and `ignore_eos true`: go on to num_predict tokens",
    )


def add_load(parser: argparse.ArgumentParser) -> None:
    """Add the options that matter when a model is loaded; read them with `options_from`."""
    group = parser.add_argument_group("loading")
    for name, kind, metavar, text in _SAMPLING:
        if name in _LOAD:
            _add(group, name, kind, metavar, text)
    _add_backend(group)
    add_keep_alive(group)


def options_from(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were given, ready for a request's `options`."""
    given = {name: getattr(args, name, None) for name, *_ in _SAMPLING}
    given |= {name: getattr(args, name, None) for name in ("stop", "backend")}
    given |= {name: as_value(text) for name, text in getattr(args, "option", None) or ()}
    return {name: value for name, value in given.items() if value is not None}


def add_keep_alive(parser: "argparse._ActionsContainer") -> None:
    """Add `--keep-alive`, as a number of seconds or a duration such as 5m."""
    parser.add_argument(
        "--keep-alive",
        "--keep_alive",
        dest="keep_alive",
        type=keep_alive,
        metavar="TIME",
        help="how long the model stays loaded when idle: 30 (seconds), 5m, 1h; -1 is forever",
    )


def keep_alive(text: str) -> float | str:
    """Return a bare number as seconds and anything else as it is, as the wire wants them."""
    try:
        return float(text)
    except ValueError:
        return text


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the model's name as the first positional argument."""
    parser.add_argument("model", metavar="MODEL", help="a model's name, such as smollm2:135m")


def add_prompt(parser: argparse.ArgumentParser, text: str) -> None:
    """Add an optional prompt as a positional argument."""
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help=text)


def add_system(parser: argparse.ArgumentParser) -> None:
    """Add the system message."""
    parser.add_argument(
        "-s", "--system", metavar="TEXT", help="the system message, in place of the model's own"
    )


def _add_backend(group: "argparse._ActionsContainer") -> None:
    group.add_argument(
        "--backend", metavar="NAME", help="the engine to run it on (`info` lists what is installed)"
    )


def _add(
    group: "argparse._ActionsContainer",
    name: str,
    kind: Callable[[str], Any],
    metavar: str,
    text: str,
) -> None:
    flags = [f"--{name.replace('_', '-')}"]
    if "_" in name:
        flags.append(f"--{name}")
    flags += _ALIASES.get(name, ())
    group.add_argument(*flags, dest=name, type=kind, metavar=metavar, help=text)
