"""The keyword arguments of the calls, for the overloads of `stream`."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

Format = Literal["", "json"] | dict[str, Any]
Message = Mapping[str, Any] | Any


class ChatOptions(TypedDict, total=False):
    """What `chat` takes beside the messages."""

    tools: Sequence[Any] | None
    think: bool | str | None
    logprobs: bool | None
    top_logprobs: int | None
    format: Format | None
    options: Mapping[str, Any] | Any | None
    keep_alive: float | str | None


class GenerateOptions(TypedDict, total=False):
    """What `generate` takes beside the prompt."""

    system: str | None
    template: str | None
    context: Sequence[int] | None
    think: bool | str | None
    logprobs: bool | None
    top_logprobs: int | None
    raw: bool | None
    format: Format | None
    images: Sequence[Any] | None
    options: Mapping[str, Any] | Any | None
    keep_alive: float | str | None
    width: int | None
    height: int | None
    steps: int | None


class PullOptions(TypedDict, total=False):
    """What `pull` takes beside the model."""

    insecure: bool
    name: str | None
    compile: bool
    quantize: str | None


class CreateOptions(TypedDict, total=False):
    """What `create` takes beside the names."""

    files: Mapping[str, str] | None
    adapters: Mapping[str, str] | None
    template: str | None
    license: str | list[str] | None
    system: str | None
    parameters: Mapping[str, Any] | Any | None
    messages: Sequence[Message] | None
