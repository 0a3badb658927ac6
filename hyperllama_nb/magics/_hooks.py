"""What the extension hangs into IPython, and takes away again when it is unloaded."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperllama_nb.magics._magics import HyperLlamaMagics


def install(magics: "HyperLlamaMagics", shell: Any) -> None:
    """Begin to hear of the shell's cells."""
    shell.events.register("pre_run_cell", magics.conversations.begin)
    shell.events.register("post_run_cell", magics.last_error.remember)


def remove(magics: "HyperLlamaMagics", shell: Any) -> None:
    """Undo `install`."""
    shell.events.unregister("pre_run_cell", magics.conversations.begin)
    shell.events.unregister("post_run_cell", magics.last_error.remember)
