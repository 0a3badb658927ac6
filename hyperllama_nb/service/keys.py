"""The key under which the application holds the service."""

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from hyperllama_nb.service.service import Service

SERVICE: web.AppKey["Service"] = web.AppKey("service")
