"""`/api/tokenize` and `/api/detokenize`."""

from aiohttp import web

routes = web.RouteTableDef()
