"""One answer for a cell that awaits it."""

from collections.abc import Mapping, Sequence
from typing import Any

from hyperllama_nb.client._default import client
from hyperllama_nb.client._response import Response
from hyperllama_nb.client._shape import Shape
from hyperllama_nb.client._types import Message


async def achat(
    prompt: str | Sequence[Message],
    model: str | None = None,
    *,
    system: str | None = None,
    options: Mapping[str, Any] | None = None,
    format: Any = None,  # noqa: A002 - the name on the wire
    show: bool = True,
    **request: Any,
) -> Response:
    """Answer a prompt or continue a conversation, for cells with `await`.

    The answer is shown as it is written, as under `%%llm`, unless `show` is false; several at once
    are shown each in an output of its own. `model` is the one that `%%llm` asks by default;
    `format` is "json", a JSON schema or a class of pydantic, and what the answer says is then in
    `.parsed`; `request` takes what `Client.chat` does. A task that is cancelled, as an interrupt of
    the cell does, ends the answer in the engine and keeps the text that was shown. Raises
    HyperLlamaError.

    Example: `answers = await asyncio.gather(hl.achat("Red?"), hl.achat("Green?"))`
    """
    from hyperllama_nb.display.sinks import NullSink, choose_sink
    from hyperllama_nb.display.streaming import stream_to_async

    messages: list[Message] = (
        [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [*prompt]
    )
    if system:
        messages.insert(0, {"role": "system", "content": system})
    shape = None if format is None else Shape.of(format)
    stream = client().chat(
        _model(model),
        messages,
        stream=True,
        options=options,
        format=shape.format if shape else None,
        **request,
    )
    facts = {"options": dict(options or {}), "system": system}
    with stream:
        sink = choose_sink() if show else NullSink()
        response = await stream_to_async(sink, stream, metadata=facts)
    if shape is not None:
        response.parsed = shape.parse(response)
    return response


def _model(name: str | None) -> str:
    """Return the model that a name stands for in the notebook; None is the notebook's default."""
    from hyperllama_nb.display.sinks import current_shell

    shell = current_shell()
    magics = shell and shell.magics_manager.registry.get("HyperLlamaMagics")
    if magics is not None:
        return str(magics.resolve(name or magics.model))
    from hyperllama_nb.models.catalog import DEFAULT_MODEL

    return name or DEFAULT_MODEL
