"""Write the pages that are generated from the code; --check only says whether they are fresh."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from hyperllama_nb.commands import COMMANDS
from hyperllama_nb.commands.options import Parser, add_sampling
from hyperllama_nb.magics import HyperLlamaMagics
from hyperllama_nb.magics._arguments import build_parser
from hyperllama_nb.magics._kernel_commands import KERNEL_COMMANDS

DOCS = Path(__file__).resolve().parent.parent / "docs"

PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
"""A part of a page that is otherwise written by hand."""


def commands() -> str:
    """Return the page on the commands."""
    lines = [
        "# Commands",
        "",
        "Each works in a terminal as `hyperllama NAME …` and in a notebook as `%llm NAME …`.",
        "A notebook has [some more](magics.md#commands-of-a-kernel).",
        "This page is written by `make docs` from the table of commands.",
        "",
        "| command | what it does |",
        "|---|---|",
    ]
    lines += [f"| [`{name}`](#{name}) | {command.help} |" for name, command in COMMANDS.items()]
    sampling = _sampling()
    for name, command in COMMANDS.items():
        own = command.parser("hyperllama").arguments()
        lines += ["", f"## {name}", "", command.help, ""]
        lines += ["```sh", f"hyperllama {command.example}", "```", ""]
        lines += _own(own, "#sampling-options")
    lines += ["", "## Sampling options", "", "Ollama's options, under their names.", ""]
    return "\n".join([*lines, *table(sampling)]) + "\n"


def magics() -> str:
    """Return the page on the magics: as it is, with its generated parts made anew."""
    page = (DOCS / "magics.md").read_text(encoding="utf-8")
    return PART.sub(lambda part: part[1] + "\n".join(_PARTS[part[2]]()) + "\n" + part[3], page)


def table(arguments: list[tuple[str, str]]) -> list[str]:
    """Return the lines of a table of arguments."""
    if not arguments:
        return ["It takes no arguments."]
    rows = [f"| `{written}` | {help_} |" for written, help_ in arguments]
    return ["| argument | meaning |", "|---|---|", *rows]


def _cell_options() -> list[str]:
    return _own(build_parser().arguments(), "commands.md#sampling-options")


def _kernel_commands() -> list[str]:
    lines = ["| command | what it does |", "|---|---|"]
    lines += [f"| `%llm {name}` | {each.help} |" for name, each in KERNEL_COMMANDS.items()]
    for name, command in KERNEL_COMMANDS.items():
        own = command.parser().arguments()
        if own:
            lines += ["", f"### {name}", "", f"`%llm {command.example}`", ""]
            lines += _own(own, "commands.md#sampling-options")
    return lines


def _settings() -> list[str]:
    found = HyperLlamaMagics.class_traits(config=True)
    rows = [f"| `{name}` | `{each.default()!r}` | {each.help} |" for name, each in found.items()]
    return ["| setting | default | meaning |", "|---|---|---|", *sorted(rows)]


_PARTS: dict[str, Callable[[], list[str]]] = {
    "options": _cell_options,
    "commands": _kernel_commands,
    "settings": _settings,
}


def _own(arguments: list[tuple[str, str]], link: str) -> list[str]:
    """Return a table of arguments, with the sampling options left to the place of the link."""
    sampling = _sampling()
    if not all(argument in arguments for argument in sampling):
        return table(arguments)
    own = table([argument for argument in arguments if argument not in sampling])
    return [*own, "", f"It takes the [sampling options]({link})."]


def _sampling() -> list[tuple[str, str]]:
    shared = Parser("")
    add_sampling(shared)
    return shared.arguments()


def main() -> None:
    for name, made in (("commands.md", commands()), ("magics.md", magics())):
        page = DOCS / name
        if "--check" not in sys.argv:
            page.write_text(made, encoding="utf-8")
        elif not page.exists() or page.read_text(encoding="utf-8") != made:
            raise SystemExit(f"{name} is not what the code says. Run: make docs")


if __name__ == "__main__":
    main()
