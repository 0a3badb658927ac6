"""OpenAI's routes: chats, completions, models."""

from aiohttp import web

routes = web.RouteTableDef()
