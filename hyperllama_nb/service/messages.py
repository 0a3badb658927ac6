"""Reading the messages, tools and images of a request, in Ollama's form."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from hyperllama_nb.errors import InvalidOptionError, RequestError, TooLargeError

MOST_IMAGES = 16
MOST_TOOLS = 128

EFFORTS = ("high", "medium", "low", "max")


def read_message(message: Any) -> dict[str, Any]:
    """Return a chat message with the fields that templates read.

    A missing `content` is empty text. Raises RequestError for another shape.
    """
    if not isinstance(message, Mapping):
        raise RequestError(
            "json: cannot unmarshal a message: each must be an object with `role` and `content`."
        )
    message = {key.lower(): value for key, value in message.items()}
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise RequestError("Each message needs a `role`: system, user, assistant or tool.")
    turn: dict[str, Any] = {"role": role.lower(), "content": _text(message, "content")}
    for field in ("thinking", "tool_name", "tool_call_id"):
        if text := _text(message, field):
            turn[field] = text
    if calls := message.get("tool_calls"):
        if not isinstance(calls, list):
            raise RequestError("json: cannot unmarshal `tool_calls`: it must be an array.")
        turn["tool_calls"] = [read_call(call) for call in calls]
    if read_images(message.get("images")):
        turn["images"] = True
    return turn


def read_call(call: Any) -> dict[str, Any]:
    """Return a tool call as templates read it: an id where there was one, a name, arguments."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RequestError(
            "json: cannot unmarshal a tool call: it must be "
            '{"function": {"name": …, "arguments": {…}}}.'
        )
    arguments = function.get("arguments")
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        raise RequestError(
            "json: cannot unmarshal the `arguments` of a tool call: they must be an object."
        )
    read: dict[str, Any] = {
        "type": "function",
        "function": {"name": function["name"], "arguments": dict(arguments)},
    }
    if isinstance(call.get("id"), str):
        read["id"] = call["id"]
    return read


def read_tools(tools: Any) -> tuple[Mapping[str, Any], ...]:
    """Return the tools of a request; raises RequestError for another shape."""
    if tools is None:
        return ()
    if not isinstance(tools, list) or len(tools) > MOST_TOOLS:
        raise RequestError(
            f"json: cannot unmarshal `tools`: it must be an array of up to {MOST_TOOLS} tools."
        )
    for tool in tools:
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise RequestError(
                "json: cannot unmarshal a tool: it must be "
                '{"type": "function", "function": {"name": …, "parameters": {…}}}.'
            )
    return tuple(tools)


def read_images(images: Any) -> bool:
    """Tell whether there are images; raises RequestError where one is not base64."""
    if not images:
        return False
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise RequestError("json: cannot unmarshal `images`: it must be an array of strings.")
    if len(images) > MOST_IMAGES:
        raise TooLargeError(f"A message may have {MOST_IMAGES} images. Send fewer.")
    for image in images:
        try:
            base64.b64decode(image, validate=True)
        except (binascii.Error, ValueError):
            raise RequestError(
                f"illegal base64 data at input byte {_first_wrong(image)}. Send the bytes of the "
                "image in base64, without `data:` before them."
            ) from None
    return True


def read_think(value: Any) -> bool | str | None:
    """Return the value of `think`; raises InvalidOptionError in Ollama's words."""
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise InvalidOptionError(
            'think must be a boolean or string ("high", "medium", "low", "max", true, or false)'
        )
    if value not in EFFORTS:
        raise InvalidOptionError(
            f'invalid think value: "{value[:40]}" (must be "high", "medium", "low", "max", true, '
            "or false)"
        )
    return value


def _text(message: Mapping[str, Any], field: str) -> str:
    value = message.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RequestError(
            f"json: cannot unmarshal a message's `{field}`: it must be a string. "
            "Join its parts to one text."
        )
    return value


def _first_wrong(text: str) -> int:
    """Return the place of the first character that base64 does not have."""
    for place, character in enumerate(text):
        if not (character.isascii() and (character.isalnum() or character in "+/=")):
            return place
    return len(text)
