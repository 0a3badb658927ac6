"""Tool calls, and the two notations in which models write one."""

import json
import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_ALPHABET = string.ascii_lowercase + string.digits

_FUNCTION = re.compile(r"<function=([^>\s]+)>(.*?)</function>", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\s]+)>\n?(.*?)\n?</parameter>", re.DOTALL)


def new_id() -> str:
    """Return an id for a call, as Ollama makes them: `call_` and eight characters."""
    return "call_" + "".join(secrets.choice(_ALPHABET) for _ in range(8))


@dataclass(frozen=True)
class ToolCall:
    """A call that a model asks for; the id lets the caller refer to it."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=new_id, compare=False)


def from_object(value: Any) -> ToolCall:
    """Return the call that a JSON object describes; raises ValueError if it is none.

    >>> from_object({"name": "add", "parameters": {"a": 1}}) == ToolCall("add", {"a": 1})
    True
    """
    if isinstance(value, Mapping) and isinstance(value.get("function"), Mapping):
        value = value["function"]
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise ValueError("no call")  # noqa: TRY004  what the caller catches
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not isinstance(arguments, Mapping) or not value["name"]:
        raise ValueError("no call")
    return ToolCall(value["name"], dict(arguments))


def from_text(text: str) -> ToolCall:
    """Return the call that a text spells, in JSON or in tags; raises ValueError if it is none."""
    try:
        return from_object(json.loads(text))
    except ValueError:
        match = _FUNCTION.fullmatch(text.strip())
        if match is None:
            raise
    arguments = {name: _value(written) for name, written in _PARAMETER.findall(match[2])}
    return ToolCall(match[1], arguments)


def _value(written: str) -> Any:
    """Return a parameter's value: JSON where it is JSON, else the text itself."""
    try:
        return json.loads(written)
    except ValueError:
        return written
