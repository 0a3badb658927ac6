"""`/api/embed`, `/api/embeddings` and `/v1/embeddings`."""

from aiohttp import web

routes = web.RouteTableDef()
