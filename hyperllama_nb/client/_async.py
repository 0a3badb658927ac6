"""The asynchronous client."""

import asyncio
import builtins
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Literal, Self, Unpack, overload

from hyperllama_nb.client import _base
from hyperllama_nb.client._call import Link, transport_error, vanished
from hyperllama_nb.client._records import Record
from hyperllama_nb.client._response import Growing, Kind, Response
from hyperllama_nb.client._stream import FINAL, is_progress
from hyperllama_nb.client._types import (
    ChatOptions,
    CreateOptions,
    Format,
    GenerateOptions,
    Message,
    PullOptions,
)
from hyperllama_nb.errors import ServiceError


class AsyncStream:
    """A growing answer: iterate over its chunks with `async for`, then read `.response`.

    For a pull and a load the chunks are the lines that tell the progress. Cancelling the task that
    iterates, or `aclose`, ends the connection, and with it the work.
    """

    def __init__(
        self, lines: AsyncIterator[dict[str, Any]], kind: str, model: str, address: _base.Address
    ) -> None:
        self._lines, self._kind, self._address = lines, kind, address
        self._growing = Growing("chat" if kind == "chat" else "generate", model)
        self._final = False

    @property
    def response(self) -> Response:
        """Return the answer so far; it is whole once the iteration has ended."""
        return self._growing.response()

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Record:
        async for line in self._lines:
            if self._kind in {"generate", "chat"}:
                if is_progress(line):
                    continue
                self._growing.add(line)
            self._final = FINAL[self._kind](line)
            return Record(line)
        if not self._final:
            self._final = True
            raise _base.cut_short(self._kind, self._address)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the connection; what has not arrived will not."""
        self._final = True
        close = getattr(self._lines, "aclose", None)
        if close is not None:
            await close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class AsyncClient:
    """Speaks to the engine service as `Client` does, with methods to await.

    It can be used from several event loops, one after another. With `stream=True` a method returns,
    once the answer has begun, something to iterate over with `async for`.
    """

    def __init__(
        self,
        host: str | None = None,
        *,
        timeout: Any = None,
        headers: Mapping[str, str] | None = None,
        start: bool = True,
    ) -> None:
        self._link = Link(host, start=start, timeout=timeout, headers=headers)
        self._idle = Link(host, start=False, timeout=timeout, headers=headers)

    @property
    def address(self) -> str:
        """Return where it leads now, as `host` takes it."""
        return str(self._link.address)

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that each of its requests carries."""
        return self._link.headers

    @overload
    async def generate(
        self,
        model: str = ...,
        prompt: str | None = ...,
        suffix: str | None = ...,
        *,
        stream: Literal[False] = ...,
        **kwargs: Unpack[GenerateOptions],
    ) -> Response: ...
    @overload
    async def generate(
        self,
        model: str = ...,
        prompt: str | None = ...,
        suffix: str | None = ...,
        *,
        stream: Literal[True],
        **kwargs: Unpack[GenerateOptions],
    ) -> AsyncStream: ...
    async def generate(
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
    ) -> Response | AsyncStream:
        """Answer a prompt; see `Client.generate`."""
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
        return await self._answer("generate", body, stream=stream)

    @overload
    async def chat(
        self,
        model: str = ...,
        messages: Sequence[Message] | None = ...,
        *,
        stream: Literal[False] = ...,
        **kwargs: Unpack[ChatOptions],
    ) -> Response: ...
    @overload
    async def chat(
        self,
        model: str = ...,
        messages: Sequence[Message] | None = ...,
        *,
        stream: Literal[True],
        **kwargs: Unpack[ChatOptions],
    ) -> AsyncStream: ...
    async def chat(
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
    ) -> Response | AsyncStream:
        """Continue a conversation; see `Client.chat`."""
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
        return await self._answer("chat", body, stream=stream)

    @overload
    async def pull(
        self, model: str, *, stream: Literal[False] = ..., **kwargs: Unpack[PullOptions]
    ) -> Record: ...
    @overload
    async def pull(
        self, model: str, *, stream: Literal[True], **kwargs: Unpack[PullOptions]
    ) -> AsyncStream: ...
    async def pull(
        self,
        model: str,
        *,
        insecure: bool = False,
        stream: bool = False,
        name: str | None = None,
        compile: bool = True,  # noqa: A002  the field's name on the wire
        quantize: str | None = None,
    ) -> Record | AsyncStream:
        """Fetch a model into the store; see `Client.pull`."""
        body = _base.pull_body(
            model, insecure=insecure, name=name, compile=compile, quantize=quantize
        )
        lines = await self._begun("pull", "/api/pull", body)
        return lines if stream else await _last(lines)

    async def embed(
        self,
        model: str = "",
        input: str | Sequence[str] = "",  # noqa: A002  ollama-python's name
        truncate: bool | None = None,
        options: Mapping[str, Any] | Any | None = None,
        keep_alive: float | str | None = None,
        dimensions: int | None = None,
    ) -> Record:
        """Return a vector of unit length for each text; see `Client.embed`."""
        body = _base.generate_body(
            model=model,
            input=input if isinstance(input, str) else [*input],
            truncate=truncate,
            options=options,
            keep_alive=keep_alive,
            dimensions=dimensions,
        )
        return await self._one("POST", "/api/embed", body)

    async def tokenize(self, model: str, text: str, *, start: bool = False) -> builtins.list[int]:
        """Return the ids of a text's tokens; see `Client.tokenize`."""
        body = _base.generate_body(model=model, content=text, add_special=start)
        return [*(await self._one("POST", "/api/tokenize", body))["tokens"]]

    @overload
    async def create(
        self,
        model: str,
        quantize: str | None = ...,
        from_: str | None = ...,
        *,
        stream: Literal[False] = ...,
        **kwargs: Unpack[CreateOptions],
    ) -> Record: ...
    @overload
    async def create(
        self,
        model: str,
        quantize: str | None = ...,
        from_: str | None = ...,
        *,
        stream: Literal[True],
        **kwargs: Unpack[CreateOptions],
    ) -> AsyncStream: ...
    async def create(
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
    ) -> Record | AsyncStream:
        """Make a model of another one, or of uploaded files; see `Client.create`."""
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
        lines = await self._begun("create", "/api/create", body)
        return lines if stream else await _last(lines)

    async def list(self) -> Record:
        """Return the models in the store, newest first, under `models`."""
        return await self._one("GET", "/api/tags")

    async def show(self, model: str) -> Record:
        """Return what a model is: details, template, parameters, licence, `model_info`."""
        return await self._one("POST", "/api/show", {"model": model})

    async def ps(self) -> Record:
        """Return the loaded models under `models`."""
        return await self._one("GET", "/api/ps")

    async def copy(self, source: str, destination: str) -> Record:
        """Give a model a second name."""
        body = {"source": source, "destination": destination}
        async for _ in self._chunks("POST", "/api/copy", body):
            pass
        return Record({"status": "success"})

    async def delete(self, model: str) -> Record:
        """Remove a name from the store, and the files that only it uses."""
        async for _ in self._chunks("DELETE", "/api/delete", {"model": model}):
            pass
        return Record({"status": "success"})

    async def version(self) -> str:
        """Return the version of the API."""
        return str((await self._one("GET", "/api/version"))["version"])

    async def load(
        self,
        model: str,
        *,
        options: Mapping[str, Any] | None = None,
        keep_alive: float | str | None = None,
    ) -> Record:
        """Load a model and return its engine's status."""
        body = _base.generate_body(model=model, options=options, keep_alive=keep_alive)
        last = await _last(await self._begun("load", "/admin/load", body))
        return Record(last["engine"])

    async def unload(self, model: str) -> Record:
        """End a model's engine; returns when it is gone."""
        return await self._one("POST", "/admin/unload", {"model": model})

    async def status(self) -> Record:
        """Return what the service is, who uses it and what its engines do."""
        return await self._one("GET", "/admin/status")

    async def inventory(self) -> Record:
        """Return what is in the store and in the catalog, what is being pulled, and the disk."""
        return await self._one("GET", "/admin/models")

    async def plan(self, model: str | None = None) -> Record:
        """Return how a model, or each one, would be loaded now, and what speaks against it."""
        return await self._one("POST", "/admin/plan", {"model": model} if model else {})

    async def pin(self, model: str, *, pinned: bool = True) -> Record:
        """Keep a loaded model for ever, or as long as usual; its field `loaded` may be false."""
        return await self._one("POST", "/admin/pin", {"model": model, "pinned": pinned})

    async def samples(self, model: str | None = None) -> Record:
        """Return what the service has counted and what is in use now; see `Client.samples`."""
        from urllib.parse import urlencode

        query = f"?{urlencode({'model': model})}" if model else ""
        return await self._one("GET", f"/admin/samples{query}", link=self._idle)

    async def logs(self, model: str | None = None, lines: int = 100) -> str:
        """Return the last lines of the log of a model's engine, or of the service."""
        from urllib.parse import urlencode

        query = urlencode({"lines": lines} | ({"model": model} if model else {}))
        return b"".join(
            [part async for part in self._chunks("GET", f"/admin/logs?{query}")]
        ).decode(errors="replace")

    async def stop(self, *, wait: bool = True) -> Record:
        """Tell the service to end; see `Client.stop`."""
        return await self._one("POST", "/admin/stop", {"wait": wait}, link=self._idle)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing: no connection is kept between two calls."""

    def __repr__(self) -> str:
        """Return where it leads."""
        return f"<AsyncClient {self._link.address}>"

    async def _answer(
        self, kind: Kind, body: dict[str, Any], *, stream: bool
    ) -> Response | AsyncStream:
        answer = await self._begun(kind, f"/api/{kind}", body)
        if stream:
            return answer
        await _last(answer)
        return answer.response

    async def _begun(self, kind: str, path: str, body: dict[str, Any]) -> AsyncStream:
        """Return the lines of an answer, its first already here: its errors are raised now."""
        body = {**body, "stream": True}
        lines = self._lines("POST", path, body)
        first = await anext(lines, None)

        async def all_lines() -> AsyncIterator[dict[str, Any]]:
            async with aclosing(lines):
                if first is not None:
                    yield first
                    async for line in lines:
                        yield line

        return AsyncStream(all_lines(), kind, str(body["model"]), self._link.address)

    async def _one(
        self, method: str, path: str, body: dict[str, Any] | None = None, link: Link | None = None
    ) -> Record:
        lines = [line async for line in self._lines(method, path, body, link)]
        if len(lines) != 1:
            raise ServiceError(
                f"{self._link.address} answered {path} with {len(lines)} JSON objects."
            )
        return Record(lines[0])

    async def _lines(
        self, method: str, path: str, body: dict[str, Any] | None, link: Link | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        splitter = _base.Lines()
        async with aclosing(self._chunks(method, path, body, link)) as chunks:
            async for data in chunks:
                for line in splitter.feed(data):
                    yield _base.check_line(line)
        for line in splitter.end():
            yield _base.check_line(line)

    async def _chunks(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        link: Link | None = None,
    ) -> AsyncGenerator[bytes, None]:
        import httpx

        link = link or self._link
        began = fresh = False
        while True:
            headers = await asyncio.to_thread(link.prepare, fresh=fresh)
            address = link.address
            try:
                async with (
                    link.async_http() as http,
                    http.stream(method, address.url + path, json=body, headers=headers) as response,
                ):
                    began = True
                    if response.status_code >= 300:
                        raise _base.http_error(
                            response.status_code, await response.aread(), address
                        )
                    async for data in response.aiter_bytes():
                        yield data
                return
            except httpx.TransportError as error:
                if link.starts and not began and not fresh and vanished(error):
                    fresh = True
                    continue
                raise transport_error(error, address, began=began) from None


async def _last(stream: AsyncStream) -> Record:
    last = Record()
    async with stream:
        async for line in stream:
            last = line
    return last
