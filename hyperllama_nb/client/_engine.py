"""A loaded model as an object."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from hyperllama_nb.client._client import Client
from hyperllama_nb.client._records import Record
from hyperllama_nb.client._response import Response
from hyperllama_nb.client._stream import Stream
from hyperllama_nb.client._types import ChatOptions, GenerateOptions, Message
from hyperllama_nb.errors import HyperLlamaError

if TYPE_CHECKING:
    from hyperllama_nb.display.sinks import Sink
    from hyperllama_nb.display.tables import Table


class Engine:
    """A model that is loaded, in the service that all notebooks of this user share.

    It stays loaded while this process lives, until `unload`; as a context manager, until the end
    of the block. A call on an unloaded model loads it again.
    """

    def __init__(self, client: Client, status: Record) -> None:
        self._client = client
        self._last = status
        self.model: str = status["model"]

    @property
    def stats(self) -> Record:
        """Return what the service knows of the engine now; `state` is `unloaded` if it is gone."""
        for found in self._client.status()["engines"]:
            if found["model"] == self.model:
                self._last = found
                break
        else:
            self._last = Record({"model": self.model, "state": "unloaded"})
        return self._last

    @property
    def state(self) -> str:
        """Return `loading`, `ready`, `stopping`, `failed` or `unloaded`."""
        return str(self.stats["state"])

    @overload
    def generate(
        self,
        prompt: str | None = ...,
        *,
        stream: Literal[False] = ...,
        **kwargs: Unpack[GenerateOptions],
    ) -> Response: ...
    @overload
    def generate(
        self,
        prompt: str | None = ...,
        *,
        stream: Literal[True],
        **kwargs: Unpack[GenerateOptions],
    ) -> Stream: ...
    def generate(
        self,
        prompt: str | None = None,
        *,
        stream: bool = False,
        **kwargs: Unpack[GenerateOptions],
    ) -> Response | Stream:
        """Answer a prompt; takes and returns what `Client.generate` does."""
        if stream:
            return self._client.generate(self.model, prompt, stream=True, **kwargs)
        return self._client.generate(self.model, prompt, **kwargs)

    @overload
    def chat(
        self,
        messages: Sequence[Message] | None = ...,
        *,
        stream: Literal[False] = ...,
        **kwargs: Unpack[ChatOptions],
    ) -> Response: ...
    @overload
    def chat(
        self,
        messages: Sequence[Message] | None = ...,
        *,
        stream: Literal[True],
        **kwargs: Unpack[ChatOptions],
    ) -> Stream: ...
    def chat(
        self,
        messages: Sequence[Message] | None = None,
        *,
        stream: bool = False,
        **kwargs: Unpack[ChatOptions],
    ) -> Response | Stream:
        """Continue a conversation; takes and returns what `Client.chat` does."""
        if stream:
            return self._client.chat(self.model, messages, stream=True, **kwargs)
        return self._client.chat(self.model, messages, **kwargs)

    def logs(self, lines: int = 100) -> str:
        """Return the last lines of the engine's log."""
        return self._client.logs(self.model, lines)

    def unload(self) -> None:
        """End the engine and free its memory; returns when it is gone."""
        self._client.unload(self.model)
        self._last = Record({"model": self.model, "state": "unloaded"})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unload()

    def __repr__(self) -> str:
        """Return what was last known, in one line."""
        facts = [self._last["state"]]
        if self._last.get("backend"):
            facts.append(f"{self._last['backend']} on {self._last['device']}")
        if self._last.get("context_length"):
            facts.append(f"context {self._last['context_length']}")
        return f"<Engine {self.model} {', '.join(facts)}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._card()._repr_html_()}

    def _card(self) -> "Table":
        from hyperllama_nb.display.tables import Table, human_bytes

        try:
            now = self.stats
        except HyperLlamaError:
            now = Record({"model": self.model, "state": "unknown: no service answers"})
        rows = [("state", now["state"] + (", asleep" if now.get("asleep") else ""))]
        for name, label in (
            ("backend", "backend"),
            ("launch", "launched as"),
            ("device", "device"),
            ("pid", "process"),
        ):
            if now.get(name) is not None:
                rows.append((label, str(now[name])))
        if now.get("memory"):
            rows.append(("memory", human_bytes(now["memory"])))
        if now.get("context_length"):
            rows.append(("context", f"{now['context_length']} tokens"))
            rows.append(
                ("requests", f"{now.get('running', 0)} running, {now.get('queued', 0)} queued")
            )
            rows.append(("output", f"{now.get('output_tokens', 0)} tokens so far"))
        if now.get("error"):
            rows.append(("error", str(now["error"])))
        return Table(("", ""), rows, title=self.model)


def load_engine(
    client: Client,
    model: str,
    *,
    context: int | None = None,
    backend: str | None = None,
    keep_alive: float | str | None = None,
    options: Mapping[str, Any] | None = None,
    sink: "Sink | None" = None,
) -> Engine:
    """Load a model, show its phases, and return its engine."""
    from hyperllama_nb.display.sinks import choose_sink
    from hyperllama_nb.display.streaming import follow

    wanted = {**(options or {})}
    if context is not None:
        wanted["num_ctx"] = context
    if backend is not None:
        wanted["backend"] = backend
    lines = client.load_progress(model, options=wanted or None, keep_alive=keep_alive)
    with lines:
        last = follow(sink or choose_sink(), lines, waiting=f"Loading {model}")
    return Engine(client, Record(last["engine"]))
