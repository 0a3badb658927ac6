"""`/api/generate` and `/api/chat`: loading, unloading, generating."""

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from aiohttp import web

from hyperllama_nb.errors import NotSupportedError, RequestError
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.service.generation import Ask, Outcome, engine_for, generate
from hyperllama_nb.service.keys import SERVICE
from hyperllama_nb.service.options import Options, parse_keep_alive
from hyperllama_nb.service.prompt import Fitted, Prompter
from hyperllama_nb.service.routes.ollama import find
from hyperllama_nb.service.running import Report
from hyperllama_nb.service.wire import LEASE_HEADER, PROGRESS_HEADER, Body, Lines, now

routes = web.RouteTableDef()

Shape = Callable[[str], dict[str, Any]]
"""Puts a piece of text into the object that the route answers with."""

NOT_YET = {
    "format": "Structured output (`format`)",
    "tools": "Tool calling (`tools`)",
    "suffix": "Insertion (`suffix`)",
    "images": "Image input (`images`)",
    "logprobs": "Log-probabilities (`logprobs`)",
}


@routes.post("/api/generate")
async def generate_route(request: web.Request) -> web.StreamResponse:
    """Complete a prompt; an empty one loads the model, or unloads it with `keep_alive` 0."""
    body = await Body.read(request)
    manifest = find(request, body)
    _refuse(body)
    prompt = body.get("prompt", str)
    raw = body.get("raw", bool)
    system = body.get("system", str, "")
    context = _token_ids(body.raw("context"))
    if raw and (system or context):
        raise RequestError("raw mode does not support template, system, or context")
    options = Options.merge(manifest.options, body.raw("options"))
    truncate = body.get("truncate", bool, True)

    def fit(prompter: Prompter, limit: int) -> Fitted:
        return prompter.fit_prompt(
            prompt,
            limit,
            system=system or manifest.system,
            raw=raw,
            context=context,
            num_keep=options.num_keep,
            truncate=truncate,
        )

    def shape(text: str) -> dict[str, Any]:
        return {"response": text}

    def last(outcome: Outcome) -> dict[str, Any]:
        return {} if raw else {"context": outcome.prompt + outcome.reply}

    ask = _ask(request, body, manifest, options, fit, len(prompt))
    return await _run(request, body, ask, shape, last, empty=not prompt)


@routes.post("/api/chat")
async def chat_route(request: web.Request) -> web.StreamResponse:
    """Continue a conversation; without messages load the model, or unload it at `keep_alive` 0."""
    body = await Body.read(request)
    if not body.get("model", str, "").strip():
        raise RequestError("model is required")
    manifest = find(request, body)
    _refuse(body)
    messages = [_message(m) for m in body.get("messages", list)]
    if messages and manifest.system and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": manifest.system})
    options = Options.merge(manifest.options, body.raw("options"))
    truncate = body.get("truncate", bool, True)

    def fit(prompter: Prompter, limit: int) -> Fitted:
        return prompter.fit_chat(messages, limit, truncate=truncate)

    def shape(text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text}}

    size = sum(len(m["content"]) for m in messages)
    ask = _ask(request, body, manifest, options, fit, size)
    return await _run(request, body, ask, shape, lambda _: {}, empty=not messages)


def _ask(
    request: web.Request,
    body: Body,
    manifest: Manifest,
    options: Options,
    fit: Callable[[Prompter, int], Fitted],
    size: int,
) -> Ask:
    values = body.raw("options") or {}
    return Ask(
        manifest=manifest,
        options=options,
        fit=fit,
        size=size,
        keep_alive=parse_keep_alive(body.raw("keep_alive")),
        lease=request.headers.get(LEASE_HEADER),
        backend=values.get("backend"),
    )


async def _run(
    request: web.Request,
    body: Body,
    ask: Ask,
    shape: Shape,
    last: Callable[[Outcome], Mapping[str, Any]],
    *,
    empty: bool,
) -> web.StreamResponse:
    """Answer with the whole generation, line by line or as one object."""
    manager = request.app[SERVICE].manager
    model = body.get("model", str)
    stream = body.get("stream", bool, True)
    lines = Lines(request)
    report: Report | None = lines.write if request.headers.get(PROGRESS_HEADER) else None

    def line(text: str, *, done: bool) -> dict[str, Any]:
        return {"model": model, "created_at": now(), **shape(text), "done": done}

    if empty and ask.keep_alive == 0:
        manager.unload_soon(ask.manifest.name.key)
        return web.json_response({**line("", done=True), "done_reason": "unload"})
    if empty:
        async with engine_for(manager, ask, report if stream else None):
            pass
        loaded = {**line("", done=True), "done_reason": "load"}
        if not lines.started:
            return web.json_response(loaded)
        return await lines.send(_once(loaded))

    async def parts() -> AsyncGenerator[dict[str, Any], None]:
        async with contextlib.aclosing(
            generate(manager, ask, report if stream else None)
        ) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    yield line(piece, done=False)
                else:
                    text = "" if stream else piece.text
                    yield {**line(text, done=True), **last(piece), **piece.metrics()}

    if stream:
        return await lines.send(parts())
    return web.json_response([part async for part in parts()][-1])


async def _once(line: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    yield line


def _refuse(body: Body) -> None:
    """Raise for what is understood and not answered; a field that asks for nothing passes."""
    if body.raw("template"):
        raise RequestError(
            "A `template` in a request is not accepted: a template is code that runs in the "
            "service. Use the model's own, or `raw: true` with a prompt that you have rendered."
        )
    for field, words in NOT_YET.items():
        if body.raw(field):
            raise NotSupportedError(
                f"{words} is not supported yet. Leave the field {field!r} out of the request."
            )
    if body.raw("think"):
        name = body.get("model", str)
        raise NotSupportedError(
            f'"{name}" does not support thinking here yet. Send `think: false` or leave it out.'
        )


def _message(message: Any) -> dict[str, Any]:
    """Return a chat message with its role and text; raises RequestError for another shape."""
    if not isinstance(message, Mapping):
        raise RequestError(
            "json: cannot unmarshal a message: each must be an object with `role` and `content`."
        )
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or not role:
        raise RequestError("Each message needs a `role`: system, user or assistant.")
    if content is not None and not isinstance(content, str):
        raise RequestError(
            "json: cannot unmarshal a message's `content`: it must be a string. "
            "Join its parts to one text."
        )
    for field, words in NOT_YET.items():
        if message.get(field):
            raise NotSupportedError(f"{words} is not supported yet in messages. Leave it out.")
    return {"role": role.lower(), "content": content or ""}


def _token_ids(value: Any) -> list[int]:
    """Return the deprecated `context` of a former reply."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(type(item) is int and item >= 0 for item in value):
        raise RequestError("json: cannot unmarshal `context`: it must be an array of token ids.")
    return value
