"""The commands on the kernel's settings: `alias`, `unalias`, `config`."""

import difflib
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from hyperllama_nb.commands.options import Parser, UsageError
from hyperllama_nb.commands.words import listing
from hyperllama_nb.display.tables import Table

if TYPE_CHECKING:
    from hyperllama_nb.magics._magics import HyperLlamaMagics

TITLE = "Settings; `%llm config NAME` tells of one what it means and how to set it"

HOW = """\
{name} = {value} ({origin})
{help}

In this kernel:  %config HyperLlamaMagics.{name} = {value}
In each kernel:  c.HyperLlamaMagics.{name} = {value}
                 as a line of {file}
An option on the line of a cell wins over both."""


def add_alias_arguments(parser: Parser) -> None:
    """Add the arguments of `alias`."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="the short name")
    parser.add_argument("target", metavar="TARGET", nargs="?", help="the model that it stands for")


def alias(magics: "HyperLlamaMagics", args: Namespace) -> Table | str:
    """Make a short name for a model, or list those there are."""
    if args.name is None:
        if not magics.aliases:
            return "There is no alias. `%llm alias NAME MODEL` makes one."
        return Table(("ALIAS", "MODEL"), [*magics.aliases.items()])
    if args.target is None:
        known(magics, args.name)
        return f"{args.name} stands for {magics.resolve(args.name)}."
    if magics.resolve(args.target) == args.name:
        raise UsageError(
            f"{args.name} would stand for itself: {args.target} leads back to it. Name a model."
        )
    magics.aliases = {**magics.aliases, args.name: args.target}
    return f"{args.name} stands for {magics.resolve(args.name)} in this kernel."


def add_unalias_arguments(parser: Parser) -> None:
    """Add the arguments of `unalias`."""
    parser.add_argument("alias", metavar="NAME", help="the short name")


def unalias(magics: "HyperLlamaMagics", args: Namespace) -> str:
    """Forget a short name."""
    known(magics, args.alias)
    magics.aliases = {name: to for name, to in magics.aliases.items() if name != args.alias}
    return f"{args.alias} stands for nothing any more."


def known(magics: "HyperLlamaMagics", name: str) -> None:
    """Raise UsageError, with a close match, for a name that is no alias."""
    if name in magics.aliases:
        return
    close = difflib.get_close_matches(name, magics.aliases, n=1)
    advice = f"Did you mean {close[0]!r}?" if close else f"There are: {listing([*magics.aliases])}."
    raise UsageError(f"There is no alias {name!r}. {advice}")


def add_config_arguments(parser: Parser) -> None:
    """Add the arguments of `config`."""
    parser.add_argument("setting", metavar="NAME", nargs="?", help="tell more of this setting")


def config(magics: "HyperLlamaMagics", args: Namespace) -> Table | str:
    """Return the settings, their values, and where each comes from; of one, all that is known."""
    settings = magics.traits(config=True)
    if args.setting is None:
        rows = [
            (name, repr(getattr(magics, name)), _origin(magics, name)) for name in sorted(settings)
        ]
        return Table(("SETTING", "VALUE", "FROM"), rows, title=TITLE)
    if args.setting not in settings:
        close = difflib.get_close_matches(args.setting, settings, n=1)
        advice = (
            f"Did you mean {close[0]}?" if close else f"There are: {listing(sorted(settings))}."
        )
        raise UsageError(f"There is no setting {args.setting!r}. {advice}")
    return HOW.format(
        name=args.setting,
        value=repr(getattr(magics, args.setting)),
        origin=_origin(magics, args.setting),
        help=settings[args.setting].help,
        file=_file(magics),
    )


def _origin(magics: "HyperLlamaMagics", name: str) -> str:
    """Return where the value of a setting was set last."""
    value = getattr(magics, name)
    if name in magics.configured and magics.configured[name] == value:
        return "configuration"
    return "default" if value == magics.traits()[name].default() else "this kernel"


def _file(magics: "HyperLlamaMagics") -> str:
    """Return the file that the shell reads its configuration from."""
    directory = getattr(getattr(magics.shell, "profile_dir", None), "location", "")
    return str(Path(directory) / "ipython_config.py")
