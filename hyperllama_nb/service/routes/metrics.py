"""`/metrics`: what Prometheus reads."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from hyperllama_nb.service.keys import SERVICE

routes = web.RouteTableDef()


@routes.get("/metrics")
async def metrics(request: web.Request) -> web.Response:
    """Tell the service's metrics in Prometheus's text format."""
    text = request.app[SERVICE].metrics.text()
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})
