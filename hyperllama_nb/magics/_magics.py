"""The magics class: configuration, `%llm`, `%%llm`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from traitlets import Dict, Unicode

from hyperllama_nb.errors import HyperLlamaError
from hyperllama_nb.magics import _prewarm
from hyperllama_nb.magics._conversations import conversations
from hyperllama_nb.magics._hooks import Hooks
from hyperllama_nb.magics._last_error import LastError

if TYPE_CHECKING:
    from argparse import Namespace

    from hyperllama_nb.client import Response
    from hyperllama_nb.display.sinks import Sink

_LOAD = ("num_ctx", "backend")
"""The options that decide which engine is loaded."""


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
        self._chats: dict[str, list[dict[str, Any]]] = {}
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
        """Ask a model (`%%llm`), or manage models and engines (`%llm`).

        `%%llm [MODEL] [options]` sends the cell and shows the answer as it is written;
        `%%llm --help` lists the options. The finished Response is in `_llm`.

        `%llm COMMAND` is one of: list, pull, show, rm, load, unload, ps, run, generate, bench,
        info, start, stop, status, serve, connect, key, logs; `%llm COMMAND --help` shows its
        options.
        """
        with _told_in_one_line():
            if cell is None:
                self._command(line)
            else:
                self._cell(line, cell)

    def _command(self, line: str) -> None:
        from hyperllama_nb.commands import execute
        from hyperllama_nb.commands.context import CellContext
        from hyperllama_nb.magics import _kernel_commands
        from hyperllama_nb.magics._arguments import split

        argv = split(line, "%llm")
        if not _kernel_commands.run(self, argv):
            execute(argv, CellContext(), resolve=self.resolve)

    def _cell(self, line: str, cell: str) -> None:
        from hyperllama_nb.commands.options import HelpShown
        from hyperllama_nb.display.sinks import choose_sink
        from hyperllama_nb.display.streaming import GenerationInterrupted
        from hyperllama_nb.magics._arguments import parse

        try:
            args = parse(line)
        except HelpShown:
            return
        args.model = self.resolve(args.model or self.model)
        args.options = {**self.options, **args.options}
        try:
            response = self._ask(args, cell.removesuffix("\n"), choose_sink(args.format))
        except GenerationInterrupted as error:
            self._keep(args, error.response)
            raise
        self._keep(args, response)

    def _ask(self, args: "Namespace", prompt: str, sink: "Sink") -> "Response":
        from hyperllama_nb.client import client
        from hyperllama_nb.display.streaming import footer_of, stream_to

        request: dict[str, Any] = {"options": args.options or None, "keep_alive": args.keep_alive}
        if args.keep_alive is None:
            request["keep_alive"] = self.keep_alive or None
        system = self.system if args.system is None else args.system
        turn = {"role": "user", "content": prompt}
        if args.chat is None:
            if system and not args.raw:
                request["system"] = system
            stream = client().generate(
                args.model, prompt, stream=True, raw=args.raw or None, **request
            )
        else:
            messages = [*self._chats.get(args.chat, []), turn]
            if system:
                # the system message of this cell counts, wherever the conversation began
                messages.insert(0, {"role": "system", "content": system})
            stream = client().chat(args.model, messages, stream=True, **request)
        with stream:
            if args.plot:
                from hyperllama_nb.display.plot import ThroughputPlot

                # importing what draws it takes a while, which the engine can use
                sink = ThroughputPlot(sink, args.model)
            response = stream_to(
                sink,
                stream,
                footer=lambda found: footer_of(found, detail=args.stats),
                metadata={"options": args.options, "system": system or None, "chat": args.chat},
            )
        if args.chat is not None:
            answer = {"role": "assistant", "content": response.text}
            self._chats.setdefault(args.chat, []).extend([turn, answer])
        return response

    def _keep(self, args: "Namespace", response: "Response | None") -> None:
        if response is not None and self.shell is not None:
            kept = {"_llm": response} | ({args.out: response} if args.out else {})
            self.shell.user_ns.update(kept)


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """Show our own errors as one line instead of a traceback; the cell still fails."""
    try:
        yield
    except HyperLlamaError as error:
        told = f"{type(error).__name__}: {error}"
        error._render_traceback_ = lambda: [told]  # type: ignore[attr-defined]
        raise
