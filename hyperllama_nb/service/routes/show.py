"""`/api/show`: what a model is, what it can do, and how a `format` would be met."""

import asyncio
import json
from typing import Any

from aiohttp import web

from hyperllama_nb.errors import HyperLlamaError, InvalidNameError
from hyperllama_nb.hardware import detect
from hyperllama_nb.models.creation import Changes
from hyperllama_nb.models.gguf.check import read_header
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.store import Store
from hyperllama_nb.service import structure
from hyperllama_nb.service.abilities import abilities
from hyperllama_nb.service.keys import SERVICE
from hyperllama_nb.service.launching import plan
from hyperllama_nb.service.options import Options
from hyperllama_nb.service.routes.ollama import local_time, named
from hyperllama_nb.service.service import Service
from hyperllama_nb.service.wire import Body

routes = web.RouteTableDef()


@routes.post("/api/show")
async def show(request: web.Request) -> web.Response:
    """Describe a model; `verbose` adds what its GGUF file tells of itself."""
    body = await Body.read(request)
    name = named(body)
    service = request.app[SERVICE]
    try:
        # Of all routes, this one tells the normalised name, as the store does.
        manifest = service.store.get(name)
    except InvalidNameError as error:
        raise InvalidNameError(f"invalid model name: {error}") from None
    # A client may ask what the model would be with a system prompt and options of its own.
    options = Options.merge(None, body.raw("options"))
    asked = {key: value for key, value in options.values.items() if key in options.given}
    shown = Changes(body.get("system", str, ""), options=asked).apply(manifest)
    described: dict[str, Any] = {
        "modelfile": modelfile(shown),
        "parameters": "\n".join(parameters(shown)),
        "template": manifest.template or "",
        "details": manifest.details(),
        "model_info": manifest.model_info(),
        "capabilities": list(abilities(service.store, manifest)),
        "modified_at": local_time(manifest.modified_at),
        "hyperllama": {
            "source": manifest.source,
            "revision": manifest.revision,
            "encoding": manifest.encoding,
            "digest": manifest.digest,
            "size": manifest.size,
            "files": [
                {"path": f.path, "digest": f.digest, "size": f.size, "role": f.role}
                for f in manifest.files
            ],
            "backends": await _backends(service, manifest),
        },
    }
    if request.headers.get("User-Agent", "").startswith("GitHubCopilotChat/"):
        # It takes the model's name from there.
        described["model_info"]["general.basename"] = name
    if body.get("verbose", bool):
        described |= await asyncio.to_thread(_verbose, service.store, manifest)
    if shown.system:
        described["system"] = shown.system
    if manifest.messages:
        described["messages"] = [dict(message) for message in manifest.messages]
    if manifest.license_text or manifest.license:
        described["license"] = manifest.license_text or manifest.license
    return web.json_response(described)


async def _backends(service: Service, manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Return how each installed backend would run the model, or why it cannot.

    That is how it would meet a `format`, and the bytes of `memory` that it would take.
    """
    found: dict[str, dict[str, Any]] = {}
    hardware = await asyncio.to_thread(detect)
    for name, backend in service.backends.items():
        try:
            spec = await plan(manifest, service.store, backend, service.settings, None)
            backend.check(spec, hardware)
        except HyperLlamaError as error:
            found[name] = {"error": str(error)}
        else:
            ways = structure.modes(backend.capabilities(spec))
            found[name] = {**ways, "memory": backend.memory(spec).plain()}
    return found


def _verbose(store: Store, manifest: Manifest) -> dict[str, Any]:
    """Return the metadata and the tensors of the model's GGUF file; nothing if it has none."""
    source = store.gguf(manifest)
    if source is None:
        return {}
    header = read_header(source)
    return {
        "model_info": {**manifest.model_info(), **header.metadata},
        "tensors": [
            {"name": tensor.name, "type": tensor.kind.name, "shape": list(tensor.shape)}
            for tensor in header.tensors.values()
        ],
    }


def parameters(manifest: Manifest) -> list[str]:
    """Return the model's options as Ollama prints them: a name, spaces, a value."""
    lines: list[str] = []
    for name, value in manifest.options.items():
        values = value if isinstance(value, list | tuple) else [value]
        for one in values:
            # A text on one line, whatever is in it: clients read this line by line.
            shown = json.dumps(one, ensure_ascii=False)
            lines.append(f"{name:<30} {shown}")
    return lines


def modelfile(manifest: Manifest) -> str:
    """Return the text that Ollama would make this model from."""
    lines = [f"FROM {manifest.name.display}"]
    if manifest.template:
        lines.append(f'TEMPLATE """{manifest.template}"""')
    if manifest.system:
        lines.append(f'SYSTEM """{manifest.system}"""')
    lines += [f'MESSAGE {m["role"]} """{m["content"]}"""' for m in manifest.messages]
    lines += [f"PARAMETER {line}" for line in parameters(manifest)]
    if manifest.license_text:
        lines.append(f'LICENSE """{manifest.license_text}"""')
    return "\n".join(lines) + "\n"
