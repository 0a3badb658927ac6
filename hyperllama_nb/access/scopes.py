"""Which scope each route asks for: a list of what is allowed, so that a new route starts closed."""

import re
from functools import lru_cache

from hyperllama_nb.access.callers import Scope

_ROUTES: dict[Scope | None, tuple[str, ...]] = {
    None: (
        "GET /",
        "GET /health",
        "GET /api/version",
        "GET /api/status",
        "POST /api/me",
        "POST /api/signout",
        "DELETE /api/user/keys/{key}",
        "POST /api/experimental/web_search",
        "POST /api/experimental/web_fetch",
        "GET /api/experimental/model-recommendations",
    ),
    "infer": (
        "POST /api/generate",
        "POST /api/chat",
        "POST /api/embed",
        "POST /api/embeddings",
        "POST /api/tokenize",
        "POST /api/detokenize",
        "POST /v1/chat/completions",
        "POST /v1/completions",
        "POST /v1/embeddings",
        "POST /v1/responses",
        "POST /v1/messages",
        "POST /v1/audio/transcriptions",
    ),
    "models:read": (
        "GET /api/tags",
        "GET /api/ps",
        "POST /api/show",
        "GET /v1/models",
        "GET /v1/models/{model}",
        "GET /metrics",
    ),
    "models:write": (
        "POST /api/pull",
        "POST /api/push",
        "POST /api/create",
        "POST /api/copy",
        "DELETE /api/delete",
        "HEAD /api/blobs/{digest}",
        "POST /api/blobs/{digest}",
    ),
}
"""Method and routed resource by scope; None asks for a credential and no more."""

_BY_ROUTE: dict[str, Scope | None] = {
    route: scope for scope, routes in _ROUTES.items() for route in routes
}

_VARIABLE: tuple[tuple[re.Pattern[str], Scope | None], ...] = tuple(
    (re.compile(re.sub(r"\\\{\w+\\\}", ".+", re.escape(route)), re.DOTALL), scope)
    for route, scope in _BY_ROUTE.items()
    if "{" in route
)


def listed(method: str, route: str) -> bool:
    """Tell whether a route is named here; one that is not asks for the scope admin."""
    return f"{method} {route}" in _BY_ROUTE or (method == "HEAD" and listed("GET", route))


@lru_cache(maxsize=1024)
def scope_of(method: str, route: str) -> Scope | None:
    """Return the scope that a request needs; None is a credential of any scope.

    `route` is the routed resource ("/v1/models/{model}", which the service uses) or a path
    ("/v1/models/smollm2:135m"). HEAD needs what GET needs. Whatever is not listed needs `admin`.

    >>> scope_of("POST", "/api/chat"), scope_of("HEAD", "/api/tags"), scope_of("GET", "/")
    ('infer', 'models:read', None)
    >>> scope_of("GET", "/v1/models/a/b:c"), scope_of("PUT", "/api/chat"), scope_of("GET", "/new")
    ('models:read', 'admin', 'admin')
    """
    for asked in (method, "GET") if method == "HEAD" else (method,):
        request = f"{asked} {route}"
        if request in _BY_ROUTE:
            return _BY_ROUTE[request]
        for pattern, scope in _VARIABLE:
            if pattern.fullmatch(request):
                return scope
    return "admin"
