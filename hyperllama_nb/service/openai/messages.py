"""Reading the messages and tools of a chat in OpenAI's form, into the form of Ollama's."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hyperllama_nb.errors import NotSupportedError, RequestError
from hyperllama_nb.service.messages import read_message

_DATA_URL = re.compile(r"data:(?:image/(?:jpeg|jpg|png|webp))?;base64,(.*)", re.DOTALL)

_TEXT_PARTS = {"text": "text", "input_text": "text", "refusal": "refusal"}
"""The kinds of parts that are text, and the field that holds it."""

_CHOICES = ("none", "auto", "required")
"""The words of `tool_choice`; all else is the name of a tool."""

_SILENT = ("assistant", "tool")
"""The roles whose messages may have no content: calls and reasoning stand for it."""


def read_messages(messages: Sequence[Any]) -> list[dict[str, Any]]:
    """Return chat messages as templates read them.

    The parts of a content are joined, a `developer` counts as `system`. Raises RequestError for
    another shape.
    """
    return [_read(message) for message in messages]


def _read(message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise RequestError(
            "json: cannot unmarshal a message: each must be an object with `role` and `content`."
        )
    role = message.get("role")
    given: dict[str, Any] = {"role": "system" if role == "developer" else role}
    images: list[str] = []
    content = message.get("content")
    calls = message.get("tool_calls")
    if isinstance(content, list):
        texts = [_part(part, images) for part in content]
        given["content"] = "\n".join(text for text in texts if text)
    elif isinstance(content, str) or (content is None and (calls or role in _SILENT)):
        given["content"] = content
    else:
        raise RequestError(
            f"invalid message content type: {_go_type(content)}. `content` must be a string or an "
            "array of parts."
        )
    if images:
        given["images"] = images
    given["thinking"] = message.get("reasoning") or message.get("reasoning_content")
    if isinstance(calls, list):
        given["tool_calls"] = [_call(call) for call in calls]
    elif calls is not None:
        raise RequestError("json: cannot unmarshal `tool_calls`: it must be an array.")
    given["tool_call_id"] = message.get("tool_call_id")
    if role == "tool":
        given["tool_name"] = message.get("name")
    return read_message(given)


def _part(part: Any, images: list[str]) -> str:
    """Return the text of a content's part; the base64 of an image goes to `images`."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or not isinstance(kind, str):
        raise RequestError(
            'Each part of a `content` must be an object with a `type`, as {"type": "text", '
            '"text": …}.'
        )
    if kind in _TEXT_PARTS:
        text = part.get(_TEXT_PARTS[kind])
        if not isinstance(text, str):
            raise RequestError(f"The `{_TEXT_PARTS[kind]}` of a part must be a string.")
        return text
    if kind == "image_url":
        images.append(_image(part.get("image_url")))
        return ""
    if kind == "input_audio":
        raise NotSupportedError("Audio is not supported: send `text` and `image_url` parts.")
    raise RequestError(
        f"A content part of the type {kind[:40]!r} is not known: send `text` and `image_url` parts."
    )


def _image(value: Any) -> str:
    """Return the base64 of an image, which is given as an object with a URL or as the URL."""
    url = value.get("url") if isinstance(value, Mapping) else value
    if isinstance(url, str) and url.startswith(("http://", "https://")):
        raise RequestError(
            "image URLs are not currently supported, please use base64 encoded data instead"
        )
    match = _DATA_URL.fullmatch(url) if isinstance(url, str) else None
    if match is None:
        raise RequestError(
            "invalid image input: send `data:image/png;base64,…` (or jpeg, jpg, webp)."
        )
    return match[1]


def _call(call: Any) -> Any:
    """Return a tool call with its arguments as an object, which comes as the text of one."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        return call  # refused where all forms of calls are read
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            arguments = None
    if not isinstance(arguments, Mapping):
        raise RequestError(
            "invalid tool call arguments: `arguments` must be a string with a JSON object in it."
        )
    return {**call, "function": {**function, "arguments": arguments}}


def read_tool_choice(value: Any, tools: Sequence[Mapping[str, Any]]) -> str | None:
    """Return "none", "required", the name of the tool to call, or None to leave it to the model.

    Raises RequestError for another shape, and for a tool that is not among `tools`.
    """
    if value is None or value == "auto" or (value == "none" and not tools):
        return None
    function = value.get("function") if isinstance(value, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if value not in ("none", "required") and not isinstance(name, str):
        raise RequestError(
            '`tool_choice` must be "none", "auto", "required", or {"type": "function", '
            '"function": {"name": …}}.'
        )
    names = [tool["function"]["name"] for tool in tools]
    if not names:
        raise RequestError("`tool_choice` asks for a call, and the request has no `tools`.")
    if name is not None and name not in names:
        raise RequestError(
            f"`tool_choice` names {name[:80]!r}, which is not among the `tools`: "
            f"{', '.join(names)}."
        )
    if name in _CHOICES:
        raise RequestError(
            f"A tool called {name!r} cannot be named in `tool_choice`, where the word means "
            'something else. Send it as the only tool, with "required".'
        )
    return name or str(value)


def _go_type(value: Any) -> str:
    """Return Go's word for the type of a JSON value, as Ollama's clients read it."""
    words: dict[type, str] = {
        bool: "bool",
        int: "float64",
        float: "float64",
        dict: "map[string]interface {}",
    }
    return words.get(type(value), "<nil>")
