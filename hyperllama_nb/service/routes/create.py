"""`/api/create` and `/api/blobs`: models from other models, and from uploaded files."""

from aiohttp import web

routes = web.RouteTableDef()
