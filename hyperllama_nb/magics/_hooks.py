"""What the extension hangs into IPython, and takes away again when it is unloaded."""

from typing import TYPE_CHECKING, Any

from hyperllama_nb.magics._completion import Completer

if TYPE_CHECKING:
    from hyperllama_nb.magics._magics import HyperLlamaMagics


class Hooks:
    """The hooks of one shell's magics: its cells' events, and Tab."""

    def __init__(self, magics: "HyperLlamaMagics", shell: Any) -> None:
        self._magics, self._shell = magics, shell
        self._events = [
            ("pre_run_cell", magics.conversations.begin),
            ("post_run_cell", magics.conversations.end),
            ("post_run_cell", magics.last_error.remember),
        ]
        self.completer = Completer(magics)
        self._match = self.completer.match

    def install(self) -> None:
        """Hang them in."""
        for event, callback in self._events:
            self._shell.events.register(event, callback)
        self._shell.Completer.custom_matchers.append(self._match)

    def remove(self) -> None:
        """Undo `install`, and take the magics' names away."""
        for event, callback in self._events:
            self._shell.events.unregister(event, callback)
        self._shell.Completer.custom_matchers.remove(self._match)
        manager = self._shell.magics_manager
        for kind, names in type(self._magics).magics.items():
            for name in names:
                manager.magics[kind].pop(name, None)
        manager.registry.pop(type(self._magics).__name__, None)
        self._shell.configurables.remove(self._magics)
