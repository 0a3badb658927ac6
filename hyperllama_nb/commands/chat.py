"""The command `run`: a conversation in the terminal, or one answer."""

import contextlib
import shlex
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from hyperllama_nb.commands.answer import add_request, answer, prompt_from
from hyperllama_nb.commands.options import (
    Parser,
    UsageError,
    add_model,
    add_prompt,
    as_value,
    options_from,
)
from hyperllama_nb.commands.words import plural
from hyperllama_nb.display.tables import Table
from hyperllama_nb.errors import HyperLlamaError

if TYPE_CHECKING:
    from hyperllama_nb.commands.context import Context

FENCE = '"""'

HELP = f"""\
/set system TEXT          replace the system message
/set parameter NAME VALUE set one of Ollama's options, such as temperature
/show                     show the model, the system message and the options
/clear                    forget the conversation
/bye                      leave (Ctrl-D too)
{FENCE}                       begin and end a text of several lines
Ctrl-C stops an answer."""


def add_arguments(parser: Parser) -> None:
    """Add the arguments of `run`."""
    add_model(parser)
    add_prompt(parser, "answer this and leave; a conversation when it is missing")
    add_request(parser)


def run(context: "Context", args: Namespace) -> None:
    """Answer the prompt, or talk until the user leaves."""
    if args.prompt is None and context.cell:
        raise UsageError(
            "`run` without a prompt is a conversation in a terminal. "
            "In a notebook, write the prompt in a cell that begins with %%llm."
        )
    if args.prompt is None and context.interactive:
        Chat(context, args).talk()
    else:
        answer(context, args, prompt_from(context, args.prompt))


class Chat:
    """A conversation with one model; an interrupted answer stays in it as far as it got."""

    def __init__(self, context: "Context", args: Namespace) -> None:
        self._context = context
        self._model: str = args.model
        self._system: str | None = args.system
        self._options = options_from(args)
        self._keep_alive = args.keep_alive
        self._quiet: bool = args.quiet
        self.messages: list[dict[str, str]] = []

    def talk(self) -> None:
        """Read, answer, repeat."""
        with contextlib.suppress(ImportError):
            # Importing it is enough: `input` then has line editing and a history.
            import readline  # noqa: F401
        self._context.client.show(self._model)
        self._context.note(f"Chat with {self._model}. /? lists the commands, /bye leaves.")
        while True:
            try:
                text = self._read()
            except EOFError:
                self._context.note("")
                return
            except KeyboardInterrupt:
                self._context.note("\n/bye or Ctrl-D leaves.")
                continue
            if text.startswith("/"):
                if not self._command(text):
                    return
            elif text.strip():
                self._answer(text)

    def _read(self) -> str:
        """Return one line, or what stands between two fences."""
        line = input(">>> ")
        if not line.startswith(FENCE):
            return line
        lines = [line.removeprefix(FENCE)]
        while not lines[-1].endswith(FENCE):
            lines.append(input("... "))
        lines[-1] = lines[-1].removesuffix(FENCE)
        return "\n".join(lines).strip("\n")

    def _answer(self, text: str) -> None:
        self.messages.append({"role": "user", "content": text})
        stream = self._context.client.chat(
            self._model,
            self._sent(),
            stream=True,
            options=self._options,
            keep_alive=self._keep_alive,
        )
        try:
            self._context.stream(stream, quiet=self._quiet)
        except KeyboardInterrupt:
            stream.close()
        except HyperLlamaError as error:
            self._context.note(str(error))
        answer_so_far = stream.response.text
        if answer_so_far:
            self.messages.append({"role": "assistant", "content": answer_so_far})
        else:
            self.messages.pop()

    def _sent(self) -> list[dict[str, str]]:
        """Return the messages of a request, the system message first."""
        first = [{"role": "system", "content": self._system}] if self._system else []
        return first + self.messages

    def _command(self, line: str) -> bool:
        """Do what a line with a slash says; False ends the conversation."""
        word, _, rest = line.partition(" ")
        match word:
            case "/bye" | "/exit" | "/quit":
                return False
            case "/clear":
                self.messages.clear()
                self._context.note("The conversation is forgotten.")
            case "/set":
                self._set(rest)
            case "/show":
                self._context.note(self._description())
            case "/?" | "/help":
                self._context.note(HELP)
            case _:
                self._context.note(f"There is no {word}. /? lists the commands.")
        return True

    def _set(self, rest: str) -> None:
        what, _, value = rest.strip().partition(" ")
        try:
            words = shlex.split(value)
        except ValueError:
            words = [value.strip().strip("\"'")]
        if what == "system" and words:
            self._system = " ".join(words)
            self._context.note("The system message is set.")
        elif what == "parameter" and len(words) == 2:
            value_read: Any = as_value(words[1])
            self._options[words[0]] = value_read
            self._context.note(f"{words[0]} is {value_read!r}.")
        else:
            self._context.note("Write /set system TEXT, or /set parameter NAME VALUE.")

    def _description(self) -> str:
        rows = [("model", self._model), ("system", self._system or "the model's own")]
        rows += [(name, str(value)) for name, value in self._options.items()]
        rows.append(("so far", plural(len(self.messages), "message")))
        return str(Table(("", ""), rows))
