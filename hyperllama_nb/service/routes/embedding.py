"""`/api/embed`, `/api/embeddings` and `/v1/embeddings`."""

import base64
import json
import sys
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from hyperllama_nb.errors import RequestError
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.service.checks import check_embeds
from hyperllama_nb.service.embedding import Embedded, Wanted, embed
from hyperllama_nb.service.keys import SERVICE
from hyperllama_nb.service.options import Options
from hyperllama_nb.service.routes.generation import circumstances
from hyperllama_nb.service.routes.ollama import find, in_ollamas_words
from hyperllama_nb.service.wire import Body

routes = web.RouteTableDef()

AT_ONCE = 64
"""Vectors that are written before other requests get their turn."""

DIGITS = 9
"""Decimals of a number: float32 resolves no more in the numbers of a vector of unit length."""


@routes.post("/api/embed")
async def embed_route(request: web.Request) -> web.StreamResponse:
    """Embed a text or a list of them; none loads the model, or unloads it at `keep_alive` 0."""
    body = await Body.read(request)
    texts = _texts(body.raw("input"))
    wanted = _wanted(request, body, _model(request, body), texts)
    if not texts and wanted.keep_alive == 0:
        request.app[SERVICE].manager.unload_soon(wanted.manifest.name.key)
        return web.json_response({"model": body.get("model", str), "embeddings": []})
    result = await embed(request.app[SERVICE].manager, wanted)
    before = {"model": body.get("model", str)}
    if not texts:
        return web.json_response({**before, "embeddings": [], **result.metrics()})
    return await _send(request, before, "embeddings", result, _numbers, result.metrics())


@routes.post("/api/embeddings")
async def legacy_route(request: web.Request) -> web.StreamResponse:
    """Embed one text, in the form that Ollama had first; an empty one loads the model."""
    body = await Body.read(request)
    if not body.get("model", str, "").strip():
        raise RequestError("model is required")
    texts = _texts(body.get("prompt", str))
    wanted = _wanted(request, body, _model(request, body), texts, truncate=False)
    if not texts and wanted.keep_alive == 0:
        request.app[SERVICE].manager.unload_soon(wanted.manifest.name.key)
        return web.json_response({"embedding": []})
    result = await embed(request.app[SERVICE].manager, wanted)
    vector = result.vectors[0] if result.vectors else ()
    return web.json_response({"embedding": [round(number, DIGITS) for number in vector]})


@routes.post("/v1/embeddings")
async def openai_route(request: web.Request) -> web.StreamResponse:
    """Embed a text or a list of them, as numbers or as base64 of little-endian float32."""
    body = await Body.read(request)
    form = body.get("encoding_format", str, "float")
    if form.lower() not in ("float", "base64"):
        raise RequestError(
            f"Invalid value for 'encoding_format' = {form[:40]}. Supported values: "
            "['float', 'base64']."
        )
    given = body.raw("input")
    texts = [""] if given == "" else _texts(given)
    if not texts:
        raise RequestError("invalid input: `input` must be a text, or a list of at least one.")
    wanted = _wanted(request, body, find(request, body), texts)
    result = await embed(request.app[SERVICE].manager, wanted)
    show = _base64 if form.lower() == "base64" else _numbers
    after = {
        "model": body.get("model", str),
        "usage": {"prompt_tokens": result.tokens, "total_tokens": result.tokens},
        "hyperllama": result.metrics()["hyperllama"],
    }

    def row(index: int, vector: "array[float]") -> str:
        return f'{{"object":"embedding","index":{index},"embedding":{show(index, vector)}}}'

    return await _send(request, {"object": "list"}, "data", result, row, after)


def _texts(given: Any) -> list[str]:
    """Return the texts of an `input`; an empty text alone is none. Raises RequestError."""
    if given is None or given == "":
        return []
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list):
        raise RequestError("invalid input type: `input` must be a text or a list of texts.")
    if any(isinstance(text, int | list) and not isinstance(text, bool) for text in texts):
        raise RequestError(
            "invalid input type: `input` has token ids, which each model numbers in its own way. "
            "Send texts (in LangChain's OpenAIEmbeddings: check_embedding_ctx_length=False)."
        )
    if not all(isinstance(text, str) for text in texts):
        raise RequestError("invalid input type: `input` must be a text or a list of texts.")
    return texts


def _model(request: web.Request, body: Body) -> Manifest:
    """Return the manifest that the request names; Ollama's texts for what can be wrong."""
    name = body.get("model", str)
    if not name.strip():
        return find(request, body)  # which says so
    with in_ollamas_words(name, f'model "{name}" not found, try pulling it first'):
        return request.app[SERVICE].store.get(name)


def _wanted(
    request: web.Request,
    body: Body,
    manifest: Manifest,
    texts: Sequence[str],
    *,
    truncate: bool = True,
) -> Wanted:
    """Return what the request wants; raises RequestError where the model cannot embed."""
    check_embeds(manifest, request.app[SERVICE].store)
    about = circumstances(request, body)
    wanted = Wanted(
        manifest=manifest,
        texts=texts,
        options=Options.merge(manifest.options, body.raw("options")),
        dimensions=body.get("dimensions", int),
        truncate=body.get("truncate", bool, truncate),
        **{name: about[name] for name in ("keep_alive", "lease", "caller")},
    )
    wanted.check()
    return wanted


def _numbers(index: int, vector: "array[float]") -> str:
    del index
    return json.dumps([round(number, DIGITS) for number in vector], separators=(",", ":"))


def _base64(index: int, vector: "array[float]") -> str:
    del index
    little = array("f", vector)
    if sys.byteorder == "big":
        little.byteswap()
    return f'"{base64.b64encode(little.tobytes()).decode()}"'


async def _send(
    request: web.Request,
    before: dict[str, Any],
    name: str,
    result: Embedded,
    row: Callable[[int, "array[float]"], str],
    after: dict[str, Any],
) -> web.StreamResponse:
    """Answer with one object whose field `name` has a row for each vector.

    It is written in parts: all of it at once would take the time of everybody's tokens.
    """
    response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
    await response.prepare(request)
    text = f'{json.dumps(before)[:-1]}, "{name}": ['
    for start in range(0, len(result.vectors), AT_ONCE):
        rows = enumerate(result.vectors[start : start + AT_ONCE], start)
        text += ",".join(row(index, vector) for index, vector in rows)
        more = start + AT_ONCE < len(result.vectors)
        await response.write((text + ("," if more else "")).encode())
        text = ""
    await response.write(f"], {json.dumps(after)[1:]}".encode())
    await response.write_eof()
    return response
