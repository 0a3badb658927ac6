"""Ollama's routes for models: what is in the store, what is loaded, and changing it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from hyperllama_nb._version import __version__
from hyperllama_nb.errors import (
    ForbiddenError,
    InvalidNameError,
    ModelNotFoundError,
    RequestError,
)
from hyperllama_nb.models.catalog import ENTRIES
from hyperllama_nb.models.gguf.quantize import parse as parse_encoding
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.service.abilities import abilities
from hyperllama_nb.service.keys import MODEL, SERVICE, caller
from hyperllama_nb.service.wire import Body, answer

routes = web.RouteTableDef()

_CLOUD = (":cloud", "-cloud")
"""How the names of models end that run elsewhere."""

OLLAMA_VERSION = "0.33.0"
"""The version of Ollama's API that clients may expect; they compare it, so it is numeric."""

FOREVER = timedelta(days=365 * 292)
"""What Ollama adds to the time for a model that never expires."""


@routes.get("/")
async def root(request: web.Request) -> web.Response:
    """Answer the heartbeat that Ollama's clients send first."""
    del request
    return web.Response(text="Ollama is running")


@routes.get("/health")
async def health(request: web.Request) -> web.Response:
    """Answer that the service itself is up, whatever the engines do."""
    del request
    return web.json_response({"status": "ok"})


@routes.get("/api/version")
async def version(request: web.Request) -> web.Response:
    """Tell the API's version, with ours behind the dash."""
    del request
    return web.json_response({"version": f"{OLLAMA_VERSION}-hyperllama.{__version__}"})


@routes.get("/api/status", allow_head=False)
async def cloud_status(request: web.Request) -> web.Response:
    """Tell that no model runs elsewhere."""
    del request
    return web.json_response({"cloud": {"disabled": True, "source": "config"}})


@routes.get("/api/experimental/model-recommendations", allow_head=False)
async def recommendations(request: web.Request) -> web.Response:
    """List what the catalog knows by name."""
    del request
    known = [{"model": entry.name, "description": entry.description} for entry in ENTRIES]
    return web.json_response({"recommendations": known})


@routes.get("/api/tags")
async def tags(request: web.Request) -> web.Response:
    """List the models in the store, newest first."""
    store = request.app[SERVICE].store
    models = [
        {
            "name": manifest.name.display,
            "model": manifest.name.display,
            "modified_at": local_time(manifest.modified_at),
            "size": manifest.size,
            "digest": manifest.digest,
            "details": manifest.details(),
            "capabilities": list(abilities(store, manifest)),
        }
        for manifest in store.list()
    ]
    return web.json_response({"models": models})


@routes.get("/api/ps", allow_head=False)
async def ps(request: web.Request) -> web.Response:
    """List the loaded models, the longest-lived first."""
    engines = [e for e in request.app[SERVICE].manager.engines.values() if e.alive]
    rows: list[tuple[datetime, dict[str, Any]]] = []
    for engine in engines:
        left = engine.keep_alive if engine.expires_in is None else max(0.0, engine.expires_in)
        if engine.leases:
            left = FOREVER.total_seconds()
        now = datetime.now(UTC)
        expires = now + min(FOREVER, timedelta(seconds=min(left, FOREVER.total_seconds())))
        memory = engine.process.memory()
        rows.append(
            (
                expires,
                {
                    "name": engine.model,
                    "model": engine.model,
                    "size": memory,
                    "digest": engine.manifest.digest,
                    "details": engine.manifest.details(),
                    "expires_at": local_time(expires),
                    "size_vram": memory if engine.spec.placement.device == "gpu" else 0,
                    "context_length": engine.spec.context,
                    "hyperllama": {"state": engine.state, "asleep": engine.asleep},
                },
            )
        )
    rows.sort(key=lambda row: row[0], reverse=True)
    return web.json_response({"models": [row for _, row in rows]})


@routes.post("/api/pull")
async def pull(request: web.Request) -> web.StreamResponse:
    """Fetch a model into the store, telling the progress."""
    body = await Body.read(request)
    text = body.get("model", str, "") or body.get("name", str, "")
    given = body.get("name", str, "") if body.get("model", str, "") else ""
    if not text.strip():
        raise RequestError("invalid model name")
    quantize = body.get("quantize", str, "")
    lines = request.app[SERVICE].pulls.pull(
        text,
        given or None,
        local=caller(request).may("admin"),
        insecure=body.get("insecure", bool, False),
        compile=body.get("compile", bool, True),
        quantize=parse_encoding(quantize) if quantize else None,
    )
    return await answer(request, lines, stream=body.get("stream", bool, True))


@routes.post("/api/copy")
async def copy(request: web.Request) -> web.Response:
    """Give a model a second name."""
    body = await Body.read(request)
    store = request.app[SERVICE].store
    source, destination = body.get("source", str), body.get("destination", str)
    with in_ollamas_words(source, f'model "{source}" not found', f'source "{source}" is invalid'):
        manifest = store.get(source)
    with in_ollamas_words(destination, wrong=f'destination "{destination}" is invalid'):
        store.copy(manifest.name, destination)
    return web.Response()


@routes.delete("/api/delete")
async def delete(request: web.Request) -> web.Response:
    """Remove a name, and the files that only it uses; a loaded engine ends when it is idle."""
    body = await Body.read(request)
    service = request.app[SERVICE]
    name = named(body)
    with in_ollamas_words(name, wrong=f'name "{name}" is invalid'):
        manifest = service.store.get(name)
    service.store.delete(manifest.name)
    service.manager.unload_soon(manifest.name.key)
    return web.Response()


def find(request: web.Request, body: Body) -> Manifest:
    """Return the manifest that a generating request names; Ollama's texts for what can be wrong."""
    name = body.get("model", str, "")
    if not name.strip():
        raise ModelNotFoundError(
            "model '' not found: the request names no model. `hyperllama list` shows the names."
        )
    with in_ollamas_words(name):
        manifest = request.app[SERVICE].store.get(name)
    request[MODEL] = manifest.name.display
    return manifest


@contextmanager
def in_ollamas_words(name: str, missing: str = "", wrong: str = "") -> Iterator[None]:
    """Begin the store's errors about a name with what Ollama says: clients match on it."""
    try:
        yield
    except InvalidNameError as error:
        raise InvalidNameError(f"{wrong or 'invalid model name'}: {error}") from None
    except ModelNotFoundError as error:
        if name.lower().endswith(_CLOUD):
            raise ForbiddenError(
                "ollama cloud is disabled: remote model is unavailable. Models run on this "
                "machine: name one without `cloud` in its tag."
            ) from None
        next_step = str(error).partition("not found")[2]
        raise ModelNotFoundError(f"{missing or f'model {name!r} not found'}{next_step}") from None


def named(body: Body) -> str:
    """Return the model that a request names, under either of two field names."""
    name = body.get("model", str, "") or body.get("name", str, "")
    if not name.strip():
        raise RequestError("model is required")
    return name


def local_time(time: datetime) -> str:
    """Return a time as Ollama's models carry it: RFC 3339, with the local offset."""
    return time.astimezone().isoformat()
