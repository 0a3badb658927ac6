"""`/api/tokenize` and `/api/detokenize`: text to token ids and back, without an engine."""

import asyncio
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from hyperllama_nb.errors import RequestError
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.service.keys import SERVICE
from hyperllama_nb.service.routes.ollama import find
from hyperllama_nb.service.tokens import Tokens
from hyperllama_nb.service.wire import Body

routes = web.RouteTableDef()

T = TypeVar("T")

LARGEST_ID = 2**32 - 1
"""What tokenizers count with."""


@routes.post("/api/tokenize")
async def tokenize(request: web.Request) -> web.Response:
    """Return the token ids of a text.

    `add_special` (default false) adds the tokens that a prompt of the model begins with, or that
    are around a text which is embedded;
    `parse_special` (default true) reads `<|im_end|>` and the like as the tokens that they name.
    """
    body = await Body.read(request)
    manifest = find(request, body)
    text = _text(body)
    start, special = body.get("add_special", bool), body.get("parse_special", bool, True)

    def ids(tokens: Tokens) -> list[int]:
        if start and "embedding" in manifest.capabilities:
            return tokens.whole(text, LARGEST_ID)[0]
        if special:
            return tokens.encode(text, start=start)
        return [
            *(tokens.encode("", start=start) if start else ()),
            *tokens.encode(text, special=False),
        ]

    return web.json_response({"tokens": await _with(request, manifest, ids)})


@routes.post("/api/detokenize")
async def detokenize(request: web.Request) -> web.Response:
    """Return the text of token ids, special tokens spelled out."""
    body = await Body.read(request)
    manifest = find(request, body)
    ids = _ids(body.raw("tokens"), manifest)
    return web.json_response({"content": await _with(request, manifest, lambda t: t.decode(ids))})


async def _with(request: web.Request, manifest: Manifest, use: Callable[[Tokens], T]) -> T:
    """Return what `use` makes of the model's tokenizer, away from the event loop."""
    store = request.app[SERVICE].store

    def work() -> T:
        return use(_tokens(store.view(manifest), manifest.name.display))

    return await asyncio.to_thread(work)


@lru_cache(maxsize=4)
def _tokens(directory: Path, model: str) -> Tokens:
    """Return a tokenizer, kept for the next request: a large one takes a second to read."""
    tokens = Tokens(directory, model)
    tokens.load()
    return tokens


def _text(body: Body) -> str:
    """Return the text of a request, under any of the names that clients give it."""
    for name in ("content", "text", "prompt"):
        if body.raw(name) is not None:
            return body.get(name, str)
    raise RequestError("There is no text to tokenize. Send it as `content`.")


def _ids(value: Any, manifest: Manifest) -> list[int]:
    """Return the token ids of a request; raises RequestError for what cannot be one."""
    if value is None:
        raise RequestError("There are no token ids to turn into text. Send them as `tokens`.")
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise RequestError("json: cannot unmarshal `tokens`: it must be an array of token ids.")
    most = manifest.vocab_size - 1 if manifest.vocab_size else LARGEST_ID
    for item in value:
        if not 0 <= item <= most:
            raise RequestError(
                f'{item} is not a token id of "{manifest.name.display}": they go from 0 to {most}.'
            )
    return value
