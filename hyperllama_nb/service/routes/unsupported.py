"""Routes of Ollama's and OpenAI's that are known and not answered: a sentence instead of a 404."""

from aiohttp import web

from hyperllama_nb.errors import NotSupportedError

routes = web.RouteTableDef()


async def refuse(request: web.Request) -> web.StreamResponse:
    """Say that the route is known and what to use instead."""
    raise NotSupportedError(
        f"{request.method} {request.path} is not supported yet. The routes /api/generate, "
        "/api/chat, /api/tags, /api/ps, /api/show, /api/pull, /api/copy and /api/delete are."
    )


for _method, _path in (
    ("POST", "/api/create"),
    ("POST", "/api/embed"),
    ("POST", "/api/embeddings"),
    ("POST", "/api/push"),
    ("HEAD", "/api/blobs/{digest}"),
    ("POST", "/api/blobs/{digest}"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model:.+}"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/messages"),
):
    routes.route(_method, _path)(refuse)
