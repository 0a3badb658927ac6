"""The work of one `%%llm` cell."""

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from hyperllama_nb.commands.options import HelpShown
from hyperllama_nb.display.cells import cell_id
from hyperllama_nb.errors import HyperLlamaError
from hyperllama_nb.magics._arguments import parse
from hyperllama_nb.magics._formats import form_of, new_cell
from hyperllama_nb.magics._interpolation import Values, interpolate

if TYPE_CHECKING:
    from hyperllama_nb.client import Response, Stream
    from hyperllama_nb.display.sinks import Format, Sink
    from hyperllama_nb.magics._magics import HyperLlamaMagics


def run(magics: "HyperLlamaMagics", line: str, text: str) -> None:
    """Ask what the cell asks, show the answer, and keep it where the line says."""
    values = values_of(magics)
    try:
        args = parse(line, lambda word: interpolate(word, values))
    except HelpShown:
        return
    Cell(magics, args, text.removesuffix("\n")).run()


def values_of(magics: "HyperLlamaMagics") -> Values:
    """Return the names that a cell may use."""
    shell: Any = magics.shell
    return Values(shell.user_ns, shell.user_ns_hidden, magics.last_error.of)


class Cell:
    """One run of a cell: what its line and the configuration say, put together."""

    def __init__(self, magics: "HyperLlamaMagics", args: Namespace, text: str) -> None:
        shell: Any = magics.shell
        self._magics, self._args, self._shell = magics, args, shell
        self._model = magics.resolve(args.model or magics.model)
        self._system = "" if args.raw else magics.system if args.system is None else args.system
        self._options: dict[str, Any] = {**magics.options, **args.options}
        history = not args.raw and not args.no_history
        self._chat: str | None = (args.chat or magics.chat or None) if history else None
        self._id = cell_id()
        self._used: list[str] = []
        values = values_of(magics)
        self._prompt = text if args.verbatim else interpolate(text, values, self._used.append)
        shown_as = args.format or ("markdown" if args.schema is None else "json")
        self._form = form_of(shown_as, extract=args.extract)
        self._format = shown_as
        self._shape = self._shape_of(values)

    def run(self) -> None:
        """Ask, show and keep; with `--bg` return while the answer grows."""
        from hyperllama_nb.display.streaming import GenerationInterrupted

        stream = self._begun()
        if self._args.bg:
            self._go_on_without(stream)
            return
        with stream:
            try:
                response = self._show(stream)
            except GenerationInterrupted as error:
                if error.response is not None:
                    self._store(error.response)
                    self._remember(error.response)
                raise
        self._store(response)
        self._finish(response)
        code = new_cell(response.text) if self._format == "code" else None
        if code is not None:
            self._shell.set_next_input(code, replace=False)

    def _begun(self) -> "Stream":
        """Send the request."""
        from hyperllama_nb.client import client

        keep_alive = self._args.keep_alive
        request: dict[str, Any] = {
            "options": self._options or None,
            "keep_alive": (self._magics.keep_alive or None) if keep_alive is None else keep_alive,
            "think": self._args.think,
            "format": self._shape.format if self._shape else None,
        }
        if self._chat is None:
            return client().generate(
                self._model,
                self._prompt,
                stream=True,
                system=self._system or None,
                raw=self._args.raw or None,
                **request,
            )
        messages = [*self._magics.conversations.before(self._chat, self._id), self._question]
        if self._system:
            # the system message of this cell counts, wherever the conversation began
            messages.insert(0, {"role": "system", "content": self._system})
        return client().chat(self._model, messages, stream=True, **request)

    def _show(self, stream: "Stream", sink: "Sink | None" = None, *, tell: bool = False) -> Any:
        from hyperllama_nb.display.streaming import stream_to

        sink = sink or self._sink()
        if self._args.plot:
            from hyperllama_nb.display.plot import ThroughputPlot

            # importing what draws it takes a while, which the engine can use
            sink = ThroughputPlot(sink, self._model)
        facts = {"options": self._options, "system": self._system or None, "chat": self._chat}
        more = {"format": self._format, "values": self._used}
        told = facts | {name: value for name, value in more.items() if value}
        return stream_to(sink, stream, footer=self._footer, metadata=told, tell=tell)

    def _go_on_without(self, stream: "Stream") -> None:
        """Let a thread show the answer in this cell, and return."""
        from hyperllama_nb.display.sinks import choose_sink
        from hyperllama_nb.magics._background import Background

        sink = self._sink()
        # The output is made here and now, where its cell is certain.
        sink.status(f"Waiting for {self._model}")
        sink.flush()

        def work() -> "Response":
            with stream:
                response: Response = self._show(stream, sink, tell=True)
            if not response.get("done"):
                self._remember(response)
                return response
            try:
                self._finish(response)
            except HyperLlamaError as error:
                choose_sink("text").finish(f"{type(error).__name__}: {error}")
                raise
            return response

        self._store(Background(stream, work, getattr(sink, "again", lambda: None)))

    def _sink(self) -> "Sink":
        from hyperllama_nb.display.held import HeldSink, LateTerminal
        from hyperllama_nb.display.sinks import DisplaySink, TerminalSink, in_kernel

        if not in_kernel():
            terminal: Sink = LateTerminal() if self._args.bg else TerminalSink()
            if self._form.plain is None and not self._args.quiet:
                return terminal
            return HeldSink(terminal, self._form.plain or str, quiet=self._args.quiet)
        if self._args.quiet:
            return HeldSink(DisplaySink(), quiet=True)
        kind: Format = "text" if self._format == "text" else "markdown"
        return DisplaySink(kind, final=self._form.cell)

    def _footer(self, response: "Response") -> str:
        from hyperllama_nb.display.footer import context_of, footer_of

        parts = [self._form.note(response.text), footer_of(response, detail=self._args.stats)]
        if self._args.quiet:
            parts[0] = f"the answer is in {self._args.out}"
        if self._chat is not None:
            parts.append(context_of(response))
        return " · ".join(filter(None, parts))

    def _finish(self, response: "Response") -> None:
        """Read and remember a whole answer; raises InvalidAnswerError."""
        if self._shape is not None:
            response.parsed = self._shape.parse(response)
        self._remember(response)

    def _store(self, found: Any) -> None:
        names = {"_llm", self._args.out or "_llm"}
        self._shell.user_ns.update(dict.fromkeys(names, found))

    def _remember(self, response: "Response") -> None:
        """Make the answer a turn of the conversation; an interrupted one counts as far as it got.

        So the model knows what the reader has seen, and "go on" means what it says.
        """
        if self._chat is None or not response.text:
            return
        ours = response.get("hyperllama") or {}
        self._magics.conversations.keep(
            self._chat,
            self._id,
            self._question,
            {"role": "assistant", "content": response.text},
            model=self._model,
            tokens=response.usage.total_tokens,
            context_length=ours.get("context_length") or None,
        )

    @property
    def _question(self) -> dict[str, Any]:
        return {"role": "user", "content": self._prompt}

    def _shape_of(self, values: Values) -> Any:
        if self._args.schema is not None:
            from hyperllama_nb.magics._schema import read_schema

            return read_schema(self._args.schema, values)
        if self._format == "json":
            from hyperllama_nb.client import Shape

            return Shape("json")
        return None
