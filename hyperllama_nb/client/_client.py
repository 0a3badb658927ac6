"""The synchronous client."""

import builtins
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, Unpack, overload

from hyperllama_nb.client import _base
from hyperllama_nb.client._call import Call, Link
from hyperllama_nb.client._records import Record
from hyperllama_nb.client._response import Growing, Kind, Response
from hyperllama_nb.client._stream import FINAL, Lines, Stream, is_progress
from hyperllama_nb.client._types import (
    ChatOptions,
    CreateOptions,
    Format,
    GenerateOptions,
    Message,
    PullOptions,
)
from hyperllama_nb.errors import ServiceError

Progress = Callable[[Record], None]


class Client:
    """Speaks to the engine service, under ollama-python's names.

    `host` is a URL or `unix:/path`; without it, and without `HYPERLLAMA_HOST`, it is the user's own
    service, which is started when it is first needed unless `start` is false. `timeout` is httpx's,
    in seconds. `progress` is called, in the calling thread, with each line that tells what a call
    without `stream` waits for, and then with `{"done": True}`. It can be shared between threads.
    """

    def __init__(
        self,
        host: str | None = None,
        *,
        timeout: Any = None,
        headers: Mapping[str, str] | None = None,
        start: bool = True,
        progress: Progress | None = None,
    ) -> None:
        self._link = Link(host, start=start, timeout=timeout, headers=headers)
        self._idle = Link(host, start=False, timeout=timeout, headers=headers)
        self._progress = progress

    @property
    def address(self) -> str:
        """Return where it leads now, as `host` takes it."""
        return str(self._link.address)

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that each of its requests carries."""
        return self._link.headers

    @overload
    def generate(
        self,
        model: str = ...,
        prompt: str | None = ...,
        suffix: str | None = ...,
        *,
        stream: Literal[False] = ...,
        **kwargs: Unpack[GenerateOptions],
    ) -> Response: ...
    @overload
    def generate(
        self,
        model: str = ...,
        prompt: str | None = ...,
        suffix: str | None = ...,
        *,
        stream: Literal[True],
        **kwargs: Unpack[GenerateOptions],
    ) -> Stream: ...
    def generate(
        self,
        model: str = "",
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        system: str | None = None,
        template: str | None = None,
        context: Sequence[int] | None = None,
        stream: bool = False,
        think: bool | str | None = None,
        logprobs: bool | None = None,
        top_logprobs: int | None = None,
        raw: bool | None = None,
        format: Format | None = None,  # noqa: A002
        images: Sequence[Any] | None = None,
        options: Mapping[str, Any] | Any | None = None,
        keep_alive: float | str | None = None,
        width: int | None = None,
        height: int | None = None,
        steps: int | None = None,
    ) -> Response | Stream:
        """Answer a prompt; loads the model if needed, and does only that without a prompt.

        Returns the finished answer, or with `stream` an iterator over its chunks, whose request
        is sent at once. Raises HyperLlamaError; Ctrl-C ends the generation in the engine too.
        """
        body = _base.generate_body(
            model=model,
            prompt=prompt,
            suffix=suffix,
            system=system,
            template=template,
            context=context and [*context],
            think=think,
            logprobs=logprobs,
            top_logprobs=top_logprobs,
            raw=raw,
            format=format,
            images=images,
            options=options,
            keep_alive=keep_alive,
            width=width,
            height=height,
            steps=steps,
        )
        return self._answer("generate", body, stream=stream)

    @overload
    def chat(
        self,
        model: str = ...,
        messages: Sequence[Message] | None = ...,
        *,
        stream: Literal[False] = ...,
        **kwargs: Unpack[ChatOptions],
    ) -> Response: ...
    @overload
    def chat(
        self,
        model: str = ...,
        messages: Sequence[Message] | None = ...,
        *,
        stream: Literal[True],
        **kwargs: Unpack[ChatOptions],
    ) -> Stream: ...
    def chat(
        self,
        model: str = "",
        messages: Sequence[Message] | None = None,
        *,
        tools: Sequence[Any] | None = None,
        stream: bool = False,
        think: bool | str | None = None,
        logprobs: bool | None = None,
        top_logprobs: int | None = None,
        format: Format | None = None,  # noqa: A002
        options: Mapping[str, Any] | Any | None = None,
        keep_alive: float | str | None = None,
    ) -> Response | Stream:
        """Continue a conversation; each message is a dict with `role` and `content`.

        Returns and raises what `generate` does; `response.message` is the next message.
        """
        body = _base.chat_body(
            messages,
            tools,
            model=model,
            think=think,
            logprobs=logprobs,
            top_logprobs=top_logprobs,
            format=format,
            options=options,
            keep_alive=keep_alive,
        )
        return self._answer("chat", body, stream=stream)

    @overload
    def pull(
        self, model: str, *, stream: Literal[False] = ..., **kwargs: Unpack[PullOptions]
    ) -> Record: ...
    @overload
    def pull(
        self, model: str, *, stream: Literal[True], **kwargs: Unpack[PullOptions]
    ) -> Lines[Record]: ...
    def pull(
        self,
        model: str,
        *,
        insecure: bool = False,
        stream: bool = False,
        name: str | None = None,
        compile: bool = True,  # noqa: A002  the field's name on the wire
        quantize: str | None = None,
    ) -> Record | Lines[Record]:
        """Fetch a model into the store; `name` is what to call an `hf:` or `file:` source.

        With `compile` it is compiled there and then, so that its first start need not. `quantize`
        re-encodes the weights (`q4_0`); the name then ends in it, unless `name` is given.
        Returns the last progress line, or with `stream` an iterator over all of them.
        """
        body = _base.pull_body(
            model, insecure=insecure, name=name, compile=compile, quantize=quantize
        )
        call = self._call("POST", "/api/pull", body)
        return Lines(call, "pull", self._link.address) if stream else self._last(call, "pull")

    def embed(
        self,
        model: str = "",
        input: str | Sequence[str] = "",  # noqa: A002  ollama-python's name
        truncate: bool | None = None,
        options: Mapping[str, Any] | Any | None = None,
        keep_alive: float | str | None = None,
        dimensions: int | None = None,
    ) -> Record:
        """Return a vector of unit length for each text, in their order, under `embeddings`.

        A text that is too long is cut unless `truncate` is false. `dimensions` keeps so many
        numbers of each vector.
        """
        body = _base.generate_body(
            model=model,
            input=input if isinstance(input, str) else [*input],
            truncate=truncate,
            options=options,
            keep_alive=keep_alive,
            dimensions=dimensions,
        )
        return self._one("POST", "/api/embed", body)

    def tokenize(self, model: str, text: str, *, start: bool = False) -> builtins.list[int]:
        """Return the ids of a text's tokens; with `start` also those that a prompt begins with.

        Special tokens are recognised. No engine is needed.
        """
        body = _base.generate_body(model=model, content=text, add_special=start)
        return [*self._one("POST", "/api/tokenize", body)["tokens"]]

    @overload
    def create(
        self,
        model: str,
        quantize: str | None = ...,
        from_: str | None = ...,
        *,
        stream: Literal[False] = ...,
        **kwargs: Unpack[CreateOptions],
    ) -> Record: ...
    @overload
    def create(
        self,
        model: str,
        quantize: str | None = ...,
        from_: str | None = ...,
        *,
        stream: Literal[True],
        **kwargs: Unpack[CreateOptions],
    ) -> Lines[Record]: ...
    def create(
        self,
        model: str,
        quantize: str | None = None,
        from_: str | None = None,
        files: Mapping[str, str] | None = None,
        adapters: Mapping[str, str] | None = None,
        template: str | None = None,
        license: str | builtins.list[str] | None = None,  # noqa: A002  ollama-python's name
        system: str | None = None,
        parameters: Mapping[str, Any] | Any | None = None,
        messages: Sequence[Message] | None = None,
        *,
        stream: bool = False,
    ) -> Record | Lines[Record]:
        """Make a model of another one (`from_`), or of uploaded `files`: names to digests.

        What is not given is the other model's. Returns the last progress line, or with `stream`
        an iterator over all of them.
        """
        body = _base.create_body(
            messages,
            model=model,
            quantize=quantize,
            **{"from": from_},
            files=files,
            adapters=adapters,
            template=template,
            license=license,
            system=system,
            parameters=parameters,
        )
        call = self._call("POST", "/api/create", body)
        return Lines(call, "create", self._link.address) if stream else self._last(call, "create")

    def list(self) -> Record:
        """Return the models in the store, newest first, under `models`."""
        return self._one("GET", "/api/tags")

    def show(self, model: str) -> Record:
        """Return what a model is: details, template, parameters, licence, `model_info`."""
        return self._one("POST", "/api/show", {"model": model})

    def ps(self) -> Record:
        """Return the loaded models under `models`."""
        return self._one("GET", "/api/ps")

    def copy(self, source: str, destination: str) -> Record:
        """Give a model a second name."""
        self._call("POST", "/api/copy", {"source": source, "destination": destination}).text()
        return Record({"status": "success"})

    def delete(self, model: str) -> Record:
        """Remove a name from the store, and the files that only it uses."""
        self._call("DELETE", "/api/delete", {"model": model}).text()
        return Record({"status": "success"})

    def version(self) -> str:
        """Return the version of the API."""
        return str(self._one("GET", "/api/version")["version"])

    def load(
        self,
        model: str,
        *,
        options: Mapping[str, Any] | None = None,
        keep_alive: float | str | None = None,
    ) -> Record:
        """Load a model and return its engine's status."""
        return Record(self._last(self._load(model, options, keep_alive), "load")["engine"])

    def load_progress(
        self,
        model: str,
        *,
        options: Mapping[str, Any] | None = None,
        keep_alive: float | str | None = None,
    ) -> Lines[Record]:
        """Load a model; iterate over the lines that tell the phases, the last one `ready`."""
        return Lines(self._load(model, options, keep_alive), "load", self._link.address)

    def unload(self, model: str) -> Record:
        """End a model's engine; returns when it is gone."""
        return self._one("POST", "/admin/unload", {"model": model})

    def status(self) -> Record:
        """Return what the service is, who uses it and what its engines do."""
        return self._one("GET", "/admin/status")

    def inventory(self) -> Record:
        """Return what is in the store and in the catalog, what is being pulled, and the disk."""
        return self._one("GET", "/admin/models")

    def plan(self, model: str | None = None) -> Record:
        """Return how a model, or each one, would be loaded now, and what speaks against it."""
        return self._one("POST", "/admin/plan", {"model": model} if model else {})

    def pin(self, model: str, *, pinned: bool = True) -> Record:
        """Keep a loaded model for ever, or as long as usual; its field `loaded` may be false."""
        return self._one("POST", "/admin/pin", {"model": model, "pinned": pinned})

    def samples(self, model: str | None = None) -> Record:
        """Return what the service has counted and what is in use now, of one model or of all.

        Two answers make rates: `models` has running totals of all clients' tokens, `clock` the
        seconds. Never starts a service, and wakes no engine.
        """
        from urllib.parse import urlencode

        query = f"?{urlencode({'model': model})}" if model else ""
        return self._one("GET", f"/admin/samples{query}", link=self._idle)

    def logs(self, model: str | None = None, lines: int = 100) -> str:
        """Return the last lines of the log of a model's engine, or of the service."""
        from urllib.parse import urlencode

        query = {"lines": lines} | ({"model": model} if model else {})
        return self._call("GET", f"/admin/logs?{urlencode(query)}").text()

    def stop(self, *, wait: bool = True) -> Record:
        """Tell the service to end: with `wait` after the running answers, else at once.

        Never starts one: raises ServiceError if none runs.
        """
        return self._one("POST", "/admin/stop", {"wait": wait}, link=self._idle)

    def serve(self, host: str = "127.0.0.1", port: int = 11434) -> Lines[Record]:
        """Open a TCP address for as long as the returned lines are open.

        The first line has its `address`; each later one a line of the service's `log`.
        """
        call = self._call("POST", "/admin/serve", {"host": host, "port": port})
        return Lines(call, "serve", self._link.address)

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._link.close()
        self._idle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        """Return where it leads."""
        return f"<Client {self._link.address}>"

    def _answer(self, kind: Kind, body: dict[str, Any], *, stream: bool) -> Response | Stream:
        call = self._call("POST", f"/api/{kind}", {**body, "stream": True}, _base.PROGRESS)
        if stream:
            return Stream(call, kind, body["model"], self._link.address)
        growing, waited = Growing(kind, body["model"]), False
        for line in call.lines():
            if is_progress(line):
                waited = True
                self._tell(line)
            else:
                growing.add(line)
        if waited:
            self._tell({"done": True})
        if not growing.done:
            raise _base.cut_short(kind, self._link.address)
        return growing.response()

    def _last(self, call: Call, kind: str) -> Record:
        line: dict[str, Any] = {}
        for line in call.lines():
            self._tell(line)
        self._tell({"done": True})
        if not FINAL[kind](line):
            raise _base.cut_short(kind, self._link.address)
        return Record(line)

    def _tell(self, line: dict[str, Any]) -> None:
        if self._progress is not None:
            self._progress(Record(line))

    def _load(
        self, model: str, options: Mapping[str, Any] | None, keep_alive: float | str | None
    ) -> Call:
        body = _base.generate_body(model=model, options=options, keep_alive=keep_alive)
        return self._call("POST", "/admin/load", body)

    def _one(
        self, method: str, path: str, body: dict[str, Any] | None = None, link: Link | None = None
    ) -> Record:
        lines = builtins.list(Call(link or self._link, method, path, body).lines())
        if len(lines) != 1:
            raise ServiceError(
                f"{self._link.address} answered {path} with {len(lines)} JSON objects."
            )
        return Record(lines[0])

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Call:
        return Call(self._link, method, path, body, headers)
