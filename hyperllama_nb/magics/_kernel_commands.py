"""The `%llm` commands of a kernel, beside those of a terminal: conversations, errors, widgets."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hyperllama_nb.magics._magics import HyperLlamaMagics


def run(magics: "HyperLlamaMagics", argv: list[str]) -> bool:  # noqa: ARG001
    """Run a command line of `%llm`; False if its first word is none of the commands here."""
    return False
