"""The middlewares before every route: through which door, who asks, may they, how often."""

import ipaddress
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from hyperllama_nb.access.callers import HEADER, LOCAL, Caller
from hyperllama_nb.access.hosts import host_allowed
from hyperllama_nb.access.keys import PREFIX, KeyStore, credential
from hyperllama_nb.access.limits import Usage
from hyperllama_nb.access.origins import Origins
from hyperllama_nb.access.scopes import scope_of
from hyperllama_nb.errors import (
    AuthenticationError,
    ForbiddenError,
    RequestError,
)
from hyperllama_nb.service.keys import CALLER, PRIVATE
from hyperllama_nb.service.service import Service

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LOOPBACK = Caller("loopback", frozenset({"infer", "models:read", "models:write"}))
"""Programs of this machine without a key, as Ollama lets them in."""

_ADDED: web.RequestKey[dict[str, str]] = web.RequestKey("_ADDED", dict[str, str])

_READABLE = "X-Request-Id, Retry-After"

_PREFLIGHT_SECONDS = "600"

_HOW = (
    "Make one with `hyperllama key create` where the service runs, and set OLLAMA_API_KEY to it "
    f"(the header is `Authorization: Bearer {PREFIX}…`)."
)


class Gate:
    """Decides on each request of one application, in the order of `middlewares`."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._keys = KeyStore()
        self._usage = Usage()
        self._origins = Origins(service.settings.origins)
        self.middlewares = (self.pages, self.who, self.may, self.how_often)

    @web.middleware
    async def pages(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse web pages on TCP: under a name of their own, or from an origin that is not named.

        A page can give an address of this machine a name (DNS rebinding), and where no key is
        asked for that is all it needs; the Host header then tells. Raises ForbiddenError.
        """
        address = _tcp(request)
        if address is None:
            return await handler(request)
        if self._open(address) and not host_allowed(
            request.headers.get(hdrs.HOST), extra=(address[0],)
        ):
            raise ForbiddenError(
                "The Host header names a host that this service does not answer for. "
                "Use localhost or 127.0.0.1 in the URL."
            )
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None:
            return await handler(request)
        if not self._origins.allow(origin):
            raise ForbiddenError(
                "Web pages may not ask this service unless their origin is named. Set "
                "OLLAMA_ORIGINS to it, as in OLLAMA_ORIGINS=https://app.example, and start the "
                "service again."
            )
        _add(request, {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: origin, hdrs.VARY: hdrs.ORIGIN})
        wanted = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD)
        if request.method != hdrs.METH_OPTIONS or wanted is None:
            _add(request, {hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: _READABLE})
            return await handler(request)
        # Browsers send no credential with the question whether they may send one.
        return web.Response(
            status=204,
            headers={
                hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, HEAD, POST, DELETE",
                hdrs.ACCESS_CONTROL_ALLOW_HEADERS: request.headers.get(
                    hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "Authorization, Content-Type"
                ),
                hdrs.ACCESS_CONTROL_MAX_AGE: _PREFLIGHT_SECONDS,
            },
        )

    @web.middleware
    async def who(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Put the caller into the request; raises AuthenticationError where there is none."""
        address = _tcp(request)
        request[PRIVATE] = address is None
        request[CALLER] = (
            _told_by_door(request) if address is None else self._from_outside(request, address)
        )
        return await handler(request)

    @web.middleware
    async def may(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what the caller's scopes do not hold; raises ForbiddenError.

        The routed resource decides, which is what will answer, and not a text of the request.
        """
        resource = request.match_info.route.resource
        if resource is None:
            return await handler(request)  # a 404 or 405, which nothing protects
        route = resource.canonical
        if _tcp(request) is not None and route.startswith("/admin/"):
            raise web.HTTPNotFound
        scope = scope_of(request.method, route)
        asking = request[CALLER]
        if scope is not None and not asking.may(scope):
            raise ForbiddenError(
                f"This needs the scope {scope}, and {asking.id} has "
                f"{', '.join(sorted(asking.scopes)) or 'none'}. `hyperllama key create --scope "
                f"{scope}` makes a key that has it."
            )
        return await handler(request)

    @web.middleware
    async def how_often(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Hold a key to its own limits, through whichever door it came."""
        asking = request[CALLER]
        kind, _, id_ = asking.id.partition(":")
        key = self._keys.get(id_) if kind == "key" else None
        if key is None:
            return await handler(request)
        with self._usage.counted(
            asking.id, per_minute=key.requests_per_minute, concurrent=key.concurrent
        ):
            return await handler(request)

    async def headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers that the middlewares decided on, to streams and errors too."""
        response.headers.update(request.get(_ADDED, {}))

    def _from_outside(self, request: web.Request, address: tuple[str, int]) -> Caller:
        authorization = request.headers.get(hdrs.AUTHORIZATION)
        text = credential(authorization, request.headers.get("X-API-Key"))
        if text is not None:
            found = self._keys.find(text)
            if found is not None:
                return found
            problem = "This key is not known: it is mistyped, was revoked, or has expired."
        elif self._open(address) and not self._service.settings.require_keys:
            return LOOPBACK
        elif authorization:
            problem = f"This address asks for a key, and keys begin with {PREFIX}."
        else:
            problem = "This address asks for a key."
        raise AuthenticationError(f"{problem} {_HOW}")

    def _open(self, address: tuple[str, int]) -> bool:
        """Tell whether a connection to this address came in by a loopback listener.

        The address of a connection may be 127.0.0.1 where the listener's is 0.0.0.0, and then
        others reach it, too. A listener that has been closed is open to nobody.
        """
        assert self._service.runner is not None, "requests come through the runner"
        if not ipaddress.ip_address(address[0].partition("%")[0]).is_loopback:
            return False
        return any(
            isinstance(bound, tuple) and bound[:2] == address
            for bound in self._service.runner.addresses
        )


def _tcp(request: web.Request) -> tuple[str, int] | None:
    """Return the address that a request came to, None for the Unix socket.

    Raises ConnectionResetError if the connection is gone, and with it the answer.
    """
    if request.transport is None:
        raise ConnectionResetError
    name = request.transport.get_extra_info("sockname")
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None


def _told_by_door(request: web.Request) -> Caller:
    """Return whom a door names; without a name it is the user, whose socket this is."""
    value = request.headers.get(HEADER)
    if value is None:
        return LOCAL
    try:
        return Caller.from_header(value)
    except ValueError:
        raise RequestError(f"The header {HEADER} is malformed; doors write it.") from None


def _add(request: web.Request, headers: dict[str, str]) -> None:
    request[_ADDED] = {**request.get(_ADDED, {}), **headers}
