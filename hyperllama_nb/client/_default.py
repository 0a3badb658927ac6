"""The client that the functions of the package use."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hyperllama_nb.client._client import Client
from hyperllama_nb.client._engine import Engine, load_engine
from hyperllama_nb.display.progress import Waiting

if TYPE_CHECKING:
    from hyperllama_nb.display.sinks import Sink

_client = Client(progress=Waiting())
generate = _client.generate
chat = _client.chat


def client() -> Client:
    """Return the client that `generate`, `chat` and `load` share."""
    return _client


def load(
    model: str,
    *,
    context: int | None = None,
    backend: str | None = None,
    keep_alive: float | str | None = None,
    options: Mapping[str, Any] | None = None,
    sink: "Sink | None" = None,
) -> Engine:
    """Load a model and return its engine; shows the phases of loading while it waits.

    `context` is the length of the context in tokens, `backend` the name of a backend, `keep_alive`
    how long the model stays when no process uses it (seconds, or a duration such as "1h"),
    `options` Ollama's options. `sink` is where to show the phases.

    Example: `with hl.load("smollm2:135m") as engine: print(engine.generate("Hello").text)`
    """
    return load_engine(
        _client,
        model,
        context=context,
        backend=backend,
        keep_alive=keep_alive,
        options=options,
        sink=sink,
    )
