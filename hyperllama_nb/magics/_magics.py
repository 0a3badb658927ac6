"""The magics class: configuration, `%llm`, `%%llm`."""

from typing import Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from traitlets import Dict, Unicode

from hyperllama_nb.magics import _prewarm
from hyperllama_nb.magics._conversations import conversations
from hyperllama_nb.magics._errors import told_in_one_line
from hyperllama_nb.magics._hooks import Hooks
from hyperllama_nb.magics._last_error import LastError

_LOAD = ("num_ctx", "backend")
"""The options that decide which engine is loaded."""


def _help() -> str:
    """Return the help, which comes from the parsers; to import them at once would take long."""
    from hyperllama_nb.magics._kernel_commands import help_text

    return help_text()


@magics_class
class HyperLlamaMagics(Magics):
    """Language models in a notebook: `%%llm` asks one, `%llm` manages them."""

    model = Unicode("smollm2:135m", help="The model of a `%%llm` that names none.").tag(config=True)
    aliases = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="Short names of models: {'fast': 'smollm2:135m'} makes `%%llm fast` ask that one.",
    ).tag(config=True)
    system = Unicode("", help="The system message of a `%%llm` that gives none.").tag(config=True)
    options = Dict(
        help="Options of each `%%llm` under Ollama's names, such as {'temperature': 0}; "
        "those of the cell's line win."
    ).tag(config=True)
    chat = Unicode(
        "",
        help="The conversation of each `%%llm` that names none with -c; empty for none.",
    ).tag(config=True)
    keep_alive = Unicode(
        "", help="How long a model stays loaded once no notebook uses it, such as '30m'."
    ).tag(config=True)

    prewarm = Unicode(
        _prewarm.LAST,
        allow_none=True,
        help="The model to load in the background as soon as the extension is loaded: a name, "
        "'last' for the one that a notebook of yours ran last, or None.",
    ).tag(config=True)

    conversations = conversations
    """The conversations of this process by name; loading the extension again keeps them."""

    def __init__(self, shell: Any, **kwargs: Any) -> None:
        super().__init__(shell, **kwargs)
        self.last_error = LastError(shell)
        self.hooks = Hooks(self, shell)
        # what `%config` sets later goes into the same object
        self.configured: dict[str, Any] = dict(self.config.get(type(self).__name__, {}))
        self._begin()
        self.observe(self._begin, "prewarm")

    def _begin(self, _: Any = None) -> None:
        """Begin to load what the first cell will probably ask for."""
        if self.prewarm:
            load = {name: self.options[name] for name in _LOAD if name in self.options}
            _prewarm.begin(self.prewarm, load, self.keep_alive)

    def resolve(self, model: str) -> str:
        """Return the model that a name stands for: what an alias says, or the name itself."""
        seen: set[str] = set()
        while model in self.aliases and model not in seen:
            seen.add(model)
            model = self.aliases[model]
        return model

    @no_var_expand
    @line_cell_magic
    def llm(self, line: str, cell: str | None = None) -> None:
        """Ask a model (`%%llm`), or manage models, engines and conversations (`%llm`)."""
        with told_in_one_line():
            if cell is None:
                self._command(line)
            else:
                from hyperllama_nb.magics import _cell

                _cell.run(self, line, cell)

    # IPython asks this for `%llm?`
    llm.getdoc = _help  # type: ignore[union-attr]

    def _command(self, line: str) -> None:
        from hyperllama_nb.commands import execute
        from hyperllama_nb.commands.context import CellContext
        from hyperllama_nb.magics import _kernel_commands
        from hyperllama_nb.magics._arguments import split

        argv = split(line, "%llm")
        if not _kernel_commands.run(self, argv):
            execute(argv, CellContext(), resolve=self.resolve)
