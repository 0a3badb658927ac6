"""Routes of Ollama's and OpenAI's that are known and not answered: a sentence instead of a 404."""

from aiohttp import web

from hyperllama_nb.errors import NotSupportedError

routes = web.RouteTableDef()

_ACCOUNT = "There are no accounts here: keys for others are made with `hyperllama key create`."
_SEARCH = "The service does not reach into the web. Put what you found into the prompt."

_REFUSED = {
    ("POST", "/api/push"): "Models are not uploaded to a registry. Copy the store's directory.",
    ("POST", "/api/me"): _ACCOUNT,
    ("POST", "/api/signout"): _ACCOUNT,
    ("DELETE", "/api/user/keys/{key}"): _ACCOUNT,
    ("POST", "/api/experimental/web_search"): _SEARCH,
    ("POST", "/api/experimental/web_fetch"): _SEARCH,
    ("POST", "/v1/responses"): "Use /v1/chat/completions, which has the same models and tools.",
    ("POST", "/v1/messages"): "Use /v1/chat/completions or /api/chat.",
    ("POST", "/v1/audio/transcriptions"): "The engines read and write text: no audio.",
}


async def refuse(request: web.Request) -> web.StreamResponse:
    """Say that the route is known and what to use instead."""
    resource = request.match_info.route.resource
    why = _REFUSED[request.method, resource.canonical if resource else request.path]
    raise NotSupportedError(f"{request.method} {request.path} is not supported. {why}")


for _method, _path in _REFUSED:
    routes.route(_method, _path)(refuse)
