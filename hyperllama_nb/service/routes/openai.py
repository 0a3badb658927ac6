"""OpenAI's routes: chats, completions, models."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from hyperllama_nb.errors import InvalidNameError, RequestError
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.service import structure
from hyperllama_nb.service.ask import Ask
from hyperllama_nb.service.checks import check, check_alternatives
from hyperllama_nb.service.keys import SERVICE
from hyperllama_nb.service.messages import read_tools
from hyperllama_nb.service.openai.answer import Answer
from hyperllama_nb.service.openai.chat import Chat
from hyperllama_nb.service.openai.choices import answers, varied
from hyperllama_nb.service.openai.fields import (
    MOST_CHOICES,
    Form,
    read_effort,
    read_format,
    read_options,
)
from hyperllama_nb.service.openai.messages import read_messages, read_tool_choice
from hyperllama_nb.service.openai.text import Text
from hyperllama_nb.service.routes.generation import circumstances
from hyperllama_nb.service.routes.ollama import find
from hyperllama_nb.service.wire import Body, Events

routes = web.RouteTableDef()

CHAT_FIELDS = (
    *("messages", "tools", "tool_choice", "parallel_tool_calls", "response_format"),
    *("reasoning", "reasoning_effort", "logprobs", "top_logprobs"),
)
COMPLETION_FIELDS = ("prompt", "suffix", "echo", "logprobs", "raw")


@routes.post("/v1/chat/completions")
async def chat(request: web.Request) -> web.StreamResponse:
    """Continue a conversation."""
    body = await Body.read(request)
    form = Form.read(body)
    alternatives = _alternatives(body)
    model = body.get("model", str)
    if not model.strip():
        raise RequestError("model is required")
    if body.raw("response_format") or body.raw("tools"):
        await structure.prepare()
    messages = read_messages(body.get("messages", list))
    if not messages:
        raise RequestError("[] is too short - 'messages'")
    tools = read_tools(body.raw("tools"))
    choice = read_tool_choice(body.raw("tool_choice"), tools)
    manifest = find(request, body)
    options = read_options(body, manifest, CHAT_FIELDS)
    ask = Ask(
        manifest=manifest,
        options=options,
        backend=options.backend,
        messages=messages,
        images=any(message.get("images") for message in messages),
        tools=tools,
        tool_choice=choice,
        think=read_effort(body),
        format=read_format(body.raw("response_format")),
        logprobs=alternatives,
        **circumstances(request, body),
    )
    parallel = body.get("parallel_tool_calls", bool, True)
    answer = Chat(model, form, form.n, parallel_calls=parallel)
    return await _respond(request, varied(ask, form.n), answer)


@routes.post("/v1/completions")
async def complete(request: web.Request) -> web.StreamResponse:
    """Continue texts as they are; with `raw` false, answer them in the model's chat template."""
    body = await Body.read(request)
    form = Form.read(body)
    alternatives = body.get("logprobs", int, None)
    check_alternatives(alternatives)
    prompts = _prompts(body.raw("prompt"), form.n)
    echo = body.get("echo", bool)
    if echo and alternatives is not None:
        raise RequestError(
            "`echo` with `logprobs` is not supported: the tokens of a prompt have none. Leave one "
            "of the two out."
        )
    manifest = find(request, body)
    options = read_options(body, manifest, COMPLETION_FIELDS)
    raw, suffix = body.get("raw", bool, True), body.get("suffix", str)
    if not suffix and not all(prompts):
        raise RequestError("`prompt` is empty: there is nothing to continue.")
    asks = [
        Ask(
            manifest=manifest,
            options=options,
            backend=options.backend,
            prompt=prompt,
            raw=raw,
            suffix=suffix,
            think=False,
            logprobs=alternatives,
            **circumstances(request, body),
        )
        for prompt in prompts
    ]
    echoes = [prompt if echo else "" for prompt in prompts for _ in range(form.n)]
    answer = Text(body.get("model", str), form, echoes)
    return await _respond(request, [a for ask in asks for a in varied(ask, form.n)], answer)


@routes.get("/v1/models")
async def models(request: web.Request) -> web.Response:
    """List the models in the store, in the order of `/api/tags`."""
    found = [_model(m, m.name.display) for m in request.app[SERVICE].store.list()]
    return web.json_response({"object": "list", "data": found})


@routes.get("/v1/models/{model:.+}")
async def model(request: web.Request) -> web.Response:
    """Describe a model, whose name may have slashes."""
    name = request.match_info["model"]
    try:
        manifest = request.app[SERVICE].store.get(name)
    except InvalidNameError as error:
        raise InvalidNameError(f"invalid model name: {error}") from None
    return web.json_response(_model(manifest, name))


async def _respond(request: web.Request, asks: Sequence[Ask], answer: Answer) -> web.StreamResponse:
    """Answer with a choice for each of `asks`, as a stream or as one object."""
    service = request.app[SERVICE]
    check(asks[0], service.store)
    parts = answers(service.manager, asks)
    if answer.form.stream:
        return await Events(request).send(answer.events(parts))
    return web.json_response(await answer.whole(parts))


def _alternatives(body: Body) -> int | None:
    """Return how many alternatives a chat tells for each token; None if it tells nothing."""
    wanted = body.get("top_logprobs", int)
    check_alternatives(wanted)
    if body.get("logprobs", bool):
        return wanted
    if wanted:
        raise RequestError("`top_logprobs` needs `logprobs: true`.")
    return None


def _prompts(value: Any, n: int) -> list[str]:
    """Return the prompts of a completion; raises RequestError unless they are texts, and few."""
    prompts = [value] if isinstance(value, str) or value is None else value
    if not isinstance(prompts, list) or not all(isinstance(p, str | None) for p in prompts):
        raise RequestError(
            "json: cannot unmarshal `prompt`: it must be a string or an array of strings. Token "
            "ids are turned into text by /api/detokenize."
        )
    if not 1 <= len(prompts) * n <= MOST_CHOICES:
        raise RequestError(
            f"A request may have up to {MOST_CHOICES} answers, and this one asks for {len(prompts)}"
            f" prompts with `n` = {n}. Send several requests."
        )
    return [prompt or "" for prompt in prompts]


def _model(manifest: Manifest, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": int(manifest.modified_at.timestamp()),
        "owned_by": manifest.name.namespace,
    }
