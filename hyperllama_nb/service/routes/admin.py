"""Private routes: leases, status, loading with progress, logs, listeners, stopping."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from aiohttp import web

from hyperllama_nb.errors import ProtocolMismatchError, RequestError
from hyperllama_nb.models.names import Name
from hyperllama_nb.runtime import PROTOCOL, engine_log, log_path
from hyperllama_nb.service.keys import SERVICE
from hyperllama_nb.service.options import Options, parse_keep_alive
from hyperllama_nb.service.wire import LEASE_HEADER, Body, Lines

routes = web.RouteTableDef()

FOLLOW_INTERVAL = 0.2
"""Seconds between two looks at a log that is followed."""


@routes.get("/admin/status")
async def status(request: web.Request) -> web.Response:
    """Tell what the service is and what its engines do."""
    return web.json_response(await request.app[SERVICE].status())


@routes.get("/admin/samples")
async def samples(request: web.Request) -> web.Response:
    """Tell a monitor what is counted and used now, of all models or of one; wakes no engine."""
    model = request.query.get("model")
    name = Name.parse(model).display if model else None
    return web.json_response(await request.app[SERVICE].sampler.take(name))


@routes.post("/admin/attach")
async def attach(request: web.Request) -> web.StreamResponse:
    """Open a lease that lives as long as this connection."""
    body = await Body.read(request)
    service = request.app[SERVICE]
    spoken = body.get("protocol", int, 0)
    if spoken != PROTOCOL:
        raise ProtocolMismatchError(
            f"This client speaks protocol {spoken}, the running service protocol {PROTOCOL} "
            f"(version {service.version}). `%llm stop` (`hyperllama stop`) ends the service once "
            "its streams have ended; the next call starts the matching one."
        )
    service.hear_of(body.get("max", str, ""))
    lease = service.manager.open_lease(
        body.get("kind", str, "python"), body.get("pid", int, 0) or None
    )
    lines = Lines(request)
    try:
        await lines.write({"lease": lease.id, "status": await service.status()})
        # The connection is the lease: the server cancels this wait when the client goes.
        await service.stopping.wait()
        return await lines.end()
    finally:
        service.manager.close_lease(lease)


@routes.post("/admin/load")
async def load(request: web.Request) -> web.StreamResponse:
    """Load a model and tell the phases."""
    body = await Body.read(request)
    service = request.app[SERVICE]
    manifest = service.store.get(body.get("model", str))
    options = Options.merge(manifest.options, body.raw("options"))
    lines = Lines(request)
    keep_alive = parse_keep_alive(body.raw("keep_alive"))

    async def ready() -> AsyncGenerator[dict[str, Any], None]:
        async with service.manager.use(
            manifest,
            context=options.num_ctx,
            backend=(body.raw("options") or {}).get("backend"),
            keep_alive=keep_alive,
            lease=request.headers.get(LEASE_HEADER),
            report=lines.write,
        ) as engine:
            yield {"status": "ready", "engine": engine.status()}

    return await lines.send(ready())


@routes.post("/admin/unload")
async def unload(request: web.Request) -> web.Response:
    """Unload a model; answers when its engine is gone."""
    body = await Body.read(request)
    service = request.app[SERVICE]
    manifest = service.store.get(body.get("model", str))
    was = await service.manager.unload(manifest.name.key)
    return web.json_response({"status": "unloaded" if was else "not loaded"})


@routes.get("/admin/logs")
async def logs(request: web.Request) -> web.Response:
    """Return the last lines of an engine's log, or of the service's."""
    model = request.query.get("model")
    try:
        count = int(request.query.get("lines", "100"))
    except ValueError:
        raise RequestError("`lines` must be a whole number.") from None
    path = log_path()
    if model:
        path = engine_log(request.app[SERVICE].store.get(model).name.display)
    return web.Response(text=await asyncio.to_thread(_tail, path, count))


@routes.post("/admin/stop")
async def stop(request: web.Request) -> web.Response:
    """Begin to end the service, at once or after the running streams."""
    body = await Body.read(request)
    request.app[SERVICE].stop_soon(wait=body.get("wait", bool, True))
    # The socket is gone before the caller knows: the next call must not reach this service.
    await asyncio.sleep(0)
    return web.json_response({"status": "stopping"})


@routes.post("/admin/serve")
async def serve(request: web.Request) -> web.StreamResponse:
    """Listen on a TCP address for as long as this connection is open, and follow the log."""
    body = await Body.read(request)
    service = request.app[SERVICE]
    host, port = body.get("host", str, "127.0.0.1"), body.get("port", int, 11434)
    lines = Lines(request)
    async with service.listening(host, port) as address:
        await lines.write({"address": address})
        following = asyncio.create_task(_follow(lines, log_path()))
        ending = asyncio.create_task(service.stopping.wait())
        try:
            await asyncio.wait({following, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (following, ending):
                task.cancel()
            await asyncio.gather(following, ending, return_exceptions=True)
        return await lines.end()


async def _follow(lines: Lines, path: Path) -> None:
    """Send each line that is added to a file, which may not exist yet."""
    _, position = await asyncio.to_thread(_since, path, None)
    with contextlib.suppress(ConnectionError):
        while True:
            text, position = await asyncio.to_thread(_since, path, position)
            for line in text.splitlines():
                await lines.write({"log": line})
            await asyncio.sleep(FOLLOW_INTERVAL)


def _since(path: Path, position: int | None) -> tuple[str, int]:
    """Return the whole lines after a position (None: the end), and the position after them."""
    if not path.exists():
        return "", 0
    size = path.stat().st_size
    if position is None:
        return "", size
    if size < position:
        position = 0  # it was emptied
    with path.open("rb") as file:
        file.seek(position)
        data = file.read(1_000_000)
    whole = data[: data.rfind(b"\n") + 1]
    return whole.decode(errors="replace"), position + len(whole)


def _tail(path: Path, count: int) -> str:
    if not path.exists():
        return ""
    with path.open(errors="replace") as file:
        return "".join(deque(file, maxlen=max(1, min(count, 10_000))))
