"""Tool calls that a caller insists on: the schema that such a call follows."""

from collections.abc import Mapping, Sequence
from typing import Any

from hyperllama_nb.errors import EngineError, InvalidOptionError, RequestError
from hyperllama_nb.service.parsing import ToolCall
from hyperllama_nb.service.parsing.calls import from_text
from hyperllama_nb.service.structure.schema import read


def forced(tools: Sequence[Mapping[str, Any]], choice: str | None) -> Any:
    """Return the schema of the call that `tool_choice` demands; None if it demands none.

    `choice` is "required" or a tool's name. Raises RequestError if there is no such tool, and for
    parameters that are no schema.
    """
    if choice in (None, "", "none", "auto"):
        return None
    chosen = [t for t in tools if choice in ("required", t.get("function", {}).get("name"))]
    if not chosen:
        known = ", ".join(t.get("function", {}).get("name", "") for t in tools) or "none"
        raise RequestError(
            f"`tool_choice` asks for {choice!r}, which is not among the request's tools ({known}). "
            'Name one of them, or send "auto".'
        )
    if len(chosen) == 1:
        schema = _call(chosen[0]["function"], "#")
    else:
        calls = [_call(tool["function"], f"#/anyOf/{i}") for i, tool in enumerate(chosen)]
        schema = {"anyOf": calls}
    try:
        return read(schema)
    except InvalidOptionError as error:
        raise RequestError(
            f"The `parameters` of the tools are no schema that a call can be made from: {error}"
        ) from None


def call_of(text: str, reason: str) -> ToolCall:
    """Return the call that an answer to such a schema spells.

    Raises EngineError where the tokens ran out before it was complete.
    """
    try:
        return from_text(text)
    except ValueError:
        why = "its tokens ran out" if reason == "length" else "it is no call"
        raise EngineError(
            f"The model was to call a tool, and the call is not complete: {why}. "
            "Raise `num_predict` (`max_tokens`), or leave `tool_choice` out."
        ) from None


def _call(function: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return the schema of a call, which stands at a place of the whole schema."""
    moved = _moved(function.get("parameters") or {}, f"{place}/properties/arguments")
    parameters: dict[str, Any] = moved
    parameters.setdefault("type", "object")
    if not parameters.get("properties") and not parameters.keys() - {"type", "properties"}:
        parameters |= {"properties": {}, "additionalProperties": False}
    return {
        "type": "object",
        "properties": {"name": {"const": function.get("name")}, "arguments": parameters},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(value: Any, place: str) -> Any:
    """Return a schema whose references within itself hold where it is moved to."""
    if isinstance(value, Mapping):
        return {
            key: place + inner[1:]
            if key == "$ref" and isinstance(inner, str) and inner.startswith("#")
            else _moved(inner, place)
            for key, inner in value.items()
        }
    return [_moved(inner, place) for inner in value] if isinstance(value, list) else value
