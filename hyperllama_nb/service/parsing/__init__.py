"""Telling apart what a model wrote: its thinking, its tool calls, and its text."""

from hyperllama_nb.service.parsing.calls import ToolCall
from hyperllama_nb.service.parsing.output import OutputParser, Parsed
from hyperllama_nb.service.parsing.tools import ToolParser, parser_for

__all__ = ["OutputParser", "Parsed", "ToolCall", "ToolParser", "parser_for"]
