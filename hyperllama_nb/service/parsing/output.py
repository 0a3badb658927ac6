"""The parser of one output: thinking first, then text and tool calls."""

from typing import NamedTuple

from hyperllama_nb.service.parsing.calls import ToolCall
from hyperllama_nb.service.parsing.thinking import Thinking
from hyperllama_nb.service.parsing.tools import ToolParser, parser_for


class Parsed(NamedTuple):
    """What a piece of generated text came to; all empty while text is held back."""

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


class OutputParser:
    """Tell a model's thinking, text and tool calls apart.

    `template` is the model's chat template, which shows the form of its calls; without `tools`
    everything but thinking is text, and without `think` everything but calls. `begun_thinking`
    says that the prompt ends with an open thinking tag.
    """

    def __init__(
        self, template: str, *, tools: bool, think: bool, begun_thinking: bool = False
    ) -> None:
        self._thinking = Thinking(begun=begun_thinking) if think else None
        self._tools: ToolParser | None = parser_for(template) if tools else None

    def feed(self, text: str) -> Parsed:
        """Take a piece of text and return what it completes."""
        thought, answer = self._thinking.feed(text) if self._thinking else ("", text)
        return self._called(thought, answer)

    def flush(self) -> Parsed:
        """Return what was held back, at the end of the output."""
        thought, answer = self._thinking.flush() if self._thinking else ("", "")
        parsed = self._called(thought, answer)
        if self._tools is None:
            return parsed
        text, calls = self._tools.flush()
        return Parsed(parsed.text + text, thought, (*parsed.tool_calls, *calls))

    def _called(self, thought: str, answer: str) -> Parsed:
        if self._tools is None or not answer:
            return Parsed(answer, thought)
        text, calls = self._tools.feed(answer)
        return Parsed(text, thought, tuple(calls))
