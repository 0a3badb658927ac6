"""`/api/generate` and `/api/chat`: loading, unloading, generating."""

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from aiohttp import web

from hyperllama_nb.engines.events import TokenLogprob
from hyperllama_nb.errors import RequestError
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.service import structure
from hyperllama_nb.service.ask import Ask, Outcome, Piece
from hyperllama_nb.service.checks import check, check_alternatives
from hyperllama_nb.service.generation import engine_for, generate, rendered
from hyperllama_nb.service.keys import SERVICE, caller, private_header
from hyperllama_nb.service.messages import read_images, read_message, read_think, read_tools
from hyperllama_nb.service.options import Options, parse_keep_alive
from hyperllama_nb.service.parsing import ToolCall
from hyperllama_nb.service.routes.ollama import find
from hyperllama_nb.service.running import Report
from hyperllama_nb.service.wire import (
    LEASE_HEADER,
    PROGRESS_HEADER,
    Body,
    Lines,
    TextLine,
    now,
    valued,
)

routes = web.RouteTableDef()

Shape = Callable[[Piece], dict[str, Any]]
"""Puts a piece into the object that the route answers with."""


@routes.post("/api/generate")
async def generate_route(request: web.Request) -> web.StreamResponse:
    """Complete a prompt; an empty one loads the model, or unloads it with `keep_alive` 0."""
    body = await Body.read(request)
    alternatives = _alternatives(body)
    manifest = find(request, body)
    raw = body.get("raw", bool)
    ask = Ask(
        manifest=manifest,
        prompt=body.get("prompt", str),
        system=body.get("system", str, "") or None,
        raw=raw,
        context=_token_ids(body.raw("context")),
        suffix=body.get("suffix", str),
        images=read_images(body.raw("images")),
        logprobs=alternatives,
        **await _common(request, body, manifest),
    )

    def shape(piece: Piece) -> dict[str, Any]:
        fields: dict[str, Any] = {"response": piece.text}
        if piece.thinking:
            fields["thinking"] = piece.thinking
        if piece.tool_calls:
            fields["tool_calls"] = calls_of(piece.tool_calls)
        return fields | _logprobs(piece)

    def last(outcome: Outcome) -> dict[str, Any]:
        return {} if raw else {"context": outcome.prompt + outcome.reply}

    return await _run(request, body, ask, shape, last)


@routes.post("/api/chat")
async def chat_route(request: web.Request) -> web.StreamResponse:
    """Continue a conversation; without messages load the model, or unload it at `keep_alive` 0."""
    body = await Body.read(request)
    alternatives = _alternatives(body)
    if not body.get("model", str, "").strip():
        raise RequestError("model is required")
    manifest = find(request, body)
    messages = [read_message(message) for message in body.get("messages", list)]
    ask = Ask(
        manifest=manifest,
        messages=messages,
        images=any(message.get("images") for message in messages),
        tools=read_tools(body.raw("tools")),
        logprobs=alternatives,
        **await _common(request, body, manifest),
    )

    def shape(piece: Piece) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": piece.text}
        if piece.thinking:
            message["thinking"] = piece.thinking
        if piece.tool_calls:
            message["tool_calls"] = calls_of(piece.tool_calls)
        return {"message": message} | _logprobs(piece)

    return await _run(request, body, ask, shape, lambda _: {})


async def _common(request: web.Request, body: Body, manifest: Manifest) -> dict[str, Any]:
    """Return the fields that both routes read alike; raises RequestError for wrong ones."""
    if body.raw("template"):
        if body.get("raw", bool):
            raise RequestError("raw mode does not support template, system, or context")
        raise RequestError(
            "A `template` in a request is not accepted: a template is code that runs in the "
            "service. Use the model's own, or `raw: true` with a prompt that you have rendered."
        )
    if body.raw("format"):
        await structure.prepare()
    options = Options.merge(manifest.options, body.raw("options"))
    return {
        "options": options,
        "backend": options.backend,
        "think": read_think(body.raw("think")),
        "format": structure.read(body.raw("format")),
        **circumstances(request, body),
    }


def circumstances(request: web.Request, body: Body) -> dict[str, Any]:
    """Return the fields of an Ask that have nothing to do with what is generated."""
    return {
        "truncate": body.get("truncate", bool, True),
        "shift": body.get("shift", bool) if body.raw("shift") is not None else None,
        "keep_alive": parse_keep_alive(body.raw("keep_alive")),
        "lease": private_header(request, LEASE_HEADER),
        "caller": caller(request).id,
    }


async def _run(
    request: web.Request,
    body: Body,
    ask: Ask,
    shape: Shape,
    last: Callable[[Outcome], Mapping[str, Any]],
) -> web.StreamResponse:
    """Answer with the whole generation, line by line or as one object."""
    service = request.app[SERVICE]
    manager = service.manager
    model = body.get("model", str)
    stream = body.get("stream", bool, True)
    lines = Lines(request)
    report: Report | None = lines.write if private_header(request, PROGRESS_HEADER) else None

    def line(piece: Piece, *, done: bool, time: str = "") -> dict[str, Any]:
        return {"model": model, "created_at": time or now(), **shape(piece), "done": done}

    check(ask, service.store)
    if body.get("_debug_render_only", bool):
        found = await rendered(service.store, ask)
        images = {"_debug_info": {"rendered_template": found}}
        return web.json_response({**line(Piece(), done=False), **images})
    if ask.empty and ask.keep_alive == 0:
        manager.unload_soon(ask.manifest.name.key)
        return web.json_response({**line(Piece(), done=True), "done_reason": "unload"})
    if ask.empty:
        async with engine_for(manager, ask, report if stream else None):
            pass
        loaded = {**line(Piece(), done=True), "done_reason": "load"}
        if not lines.started:
            return web.json_response(loaded)
        return await lines.send(_once(loaded))

    text_line = TextLine(lambda time, text: line(Piece(text), done=False, time=time))

    async def parts() -> AsyncGenerator[Mapping[str, Any] | bytes, None]:
        async with contextlib.aclosing(
            generate(manager, ask, report if stream else None)
        ) as pieces:
            async for piece in pieces:
                if isinstance(piece, Piece):
                    if not stream:
                        continue
                    yield text_line(piece.text) if piece.plain else line(piece, done=False)
                else:
                    whole = Piece() if stream else piece.whole
                    yield {**line(whole, done=True), **last(piece), **piece.metrics()}

    if stream:
        return await lines.send(parts())
    return web.json_response([part async for part in parts()][-1])


async def _once(line: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    yield line


def calls_of(calls: tuple[ToolCall, ...]) -> list[dict[str, Any]]:
    """Return tool calls as Ollama's messages have them."""
    return [
        {
            "id": call.id,
            "function": {"index": index, "name": call.name, "arguments": call.arguments},
        }
        for index, call in enumerate(calls)
    ]


def _logprobs(piece: Piece) -> dict[str, Any]:
    return {"logprobs": [_logprob(token) for token in piece.logprobs]} if piece.logprobs else {}


def _logprob(token: TokenLogprob) -> dict[str, Any]:
    found = valued(token.token, token.logprob)
    if token.top:
        found["top_logprobs"] = [valued(text, value) for text, value in token.top]
    return found


def _alternatives(body: Body) -> int | None:
    """Return how many alternatives to tell for each token; None if nothing is to be told."""
    wanted = body.get("top_logprobs", int)
    check_alternatives(wanted)
    return wanted if body.get("logprobs", bool) else None


def _token_ids(value: Any) -> list[int]:
    """Return the deprecated `context` of a former reply."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(type(item) is int and item >= 0 for item in value):
        raise RequestError("json: cannot unmarshal `context`: it must be an array of token ids.")
    return value
