"""Write the pages that are generated from the code; --check only says whether they are fresh."""

import sys
from pathlib import Path

from hyperllama_nb.commands import COMMANDS
from hyperllama_nb.commands.options import Parser, add_sampling

PAGE = Path(__file__).resolve().parent.parent / "docs" / "commands.md"


def commands() -> str:
    """Return the page on the commands."""
    lines = [
        "# Commands",
        "",
        "Each works in a terminal as `hyperllama NAME …` and in a notebook as `%llm NAME …`.",
        "This page is written by `make docs` from the table of commands.",
        "",
        "| command | what it does |",
        "|---|---|",
    ]
    lines += [f"| [`{name}`](#{name}) | {command.help} |" for name, command in COMMANDS.items()]
    shared = Parser("")
    add_sampling(shared)
    sampling = shared.arguments()
    for name, command in COMMANDS.items():
        own = command.parser("hyperllama").arguments()
        samples = all(argument in own for argument in sampling)
        lines += ["", f"## {name}", "", command.help, ""]
        lines += ["```sh", f"hyperllama {command.example}", "```", ""]
        lines += table([argument for argument in own if not samples or argument not in sampling])
        if samples:
            lines += ["", "It takes the [sampling options](#sampling-options)."]
    lines += ["", "## Sampling options", "", "Ollama's options, under their names.", ""]
    return "\n".join([*lines, *table(sampling)]) + "\n"


def table(arguments: list[tuple[str, str]]) -> list[str]:
    """Return the lines of a table of arguments."""
    if not arguments:
        return ["It takes no arguments."]
    rows = [f"| `{written}` | {help_} |" for written, help_ in arguments]
    return ["| argument | meaning |", "|---|---|", *rows]


def main() -> None:
    fresh = commands()
    if "--check" not in sys.argv:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(fresh, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != fresh:
        raise SystemExit(f"{PAGE.name} is not what the code says. Run: make docs")


if __name__ == "__main__":
    main()
