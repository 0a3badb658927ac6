"""Private routes for a list of models: what there is, what fits, and what stays loaded."""

import asyncio

from aiohttp import web

from hyperllama_nb.hardware import detect
from hyperllama_nb.models.inventory import inventory
from hyperllama_nb.service.foresight import foresee
from hyperllama_nb.service.keys import SERVICE
from hyperllama_nb.service.wire import Body

routes = web.RouteTableDef()


@routes.get("/admin/models")
async def models(request: web.Request) -> web.Response:
    """Tell what is in the store and in the catalog, what is being pulled, and the disk's use."""
    service = request.app[SERVICE]
    found = await asyncio.to_thread(inventory, service.store)
    return web.json_response({**found, "pulls": service.pulls.status()})


@routes.post("/admin/plan")
async def plan(request: web.Request) -> web.Response:
    """Tell how a model would be loaded now, or why it cannot; without `model`, for all."""
    body = await Body.read(request)
    service = request.app[SERVICE]
    name = body.get("model", str, "")
    manifests = [service.store.get(name)] if name else service.store.list()
    hardware = await asyncio.to_thread(detect)
    return web.json_response(
        {
            "memory": {"total": hardware.memory_total, "free": hardware.memory_available},
            "devices": [
                {"name": device.name, "total": device.memory, "free": device.free}
                for device in hardware.devices
            ],
            "models": [await foresee(service.manager, manifest) for manifest in manifests],
        }
    )


@routes.post("/admin/pin")
async def pin(request: web.Request) -> web.Response:
    """Keep a loaded model for ever, or (`pinned` false) as long as usual, from now; wakes nothing.

    Answers whether it is pinned; `loaded` is false where there is no engine to pin.
    """
    body = await Body.read(request)
    service = request.app[SERVICE]
    manifest = service.store.get(body.get("model", str))
    engine = service.manager.pin(manifest.name.key, pinned=body.get("pinned", bool, True))
    if engine is None:
        return web.json_response({"loaded": False, "pinned": False})
    return web.json_response({"loaded": True, "pinned": engine.pinned})
