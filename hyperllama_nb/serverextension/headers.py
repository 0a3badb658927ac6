"""Which headers pass the door, in either direction."""

from collections.abc import Iterator
from urllib.parse import unquote_plus

from tornado.httputil import HTTPHeaders

from hyperllama_nb.access.callers import HEADER, Caller

REQUEST_ID = "X-Request-Id"

_HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)

_ENDS_HERE = frozenset(
    {
        *("authorization", "cookie", "x-api-key", "x-xsrftoken", "expect", "host"),
        *("origin", "referer", REQUEST_ID.lower()),
    }
)
"""What the door has judged, or says in its own words: credentials go no further than here."""

_PRIVATE = "x-hyperllama-"
"""How the headers begin that only this user's own programs may send."""

_SAID_BY_JUPYTER = frozenset(
    {"date", "server", "set-cookie", "content-security-policy", "x-content-type-options"}
)

_SECRET_ARGUMENTS = frozenset({"token", "_xsrf"})


def to_service(headers: HTTPHeaders, caller: Caller, request_id: str) -> Iterator[tuple[str, str]]:
    """Yield the headers of a request as the service is to see them, with who asks."""
    kept = headers.get("Connection", "").lower()
    named = {name.strip() for name in kept.split(",")} - {"content-length", "content-type"}
    for name, value in headers.get_all():
        low = name.lower()
        if low in _HOP_BY_HOP or low in _ENDS_HERE or low in named or low.startswith(_PRIVATE):
            continue
        yield name, value
    if "Transfer-Encoding" in headers:
        yield "Transfer-Encoding", "chunked"
    yield HEADER, caller.to_header()
    yield REQUEST_ID, request_id


def from_service(headers: HTTPHeaders) -> Iterator[tuple[str, str]]:
    """Yield the headers of an answer that the client is to see; which pages may ask is ours."""
    for name, value in headers.get_all():
        low = name.lower()
        if low in _HOP_BY_HOP or low in _SAID_BY_JUPYTER or low.startswith("access-control-"):
            continue
        yield name, value


def without_secrets(query: str) -> str:
    """Return a query without the arguments that are credentials, the others as they were.

    >>> without_secrets("a=1&token=x&b=%20"), without_secrets("tok%65n=x")
    ('a=1&b=%20', '')
    """
    kept = [
        part
        for part in query.split("&")
        if unquote_plus(part.partition("=")[0]) not in _SECRET_ARGUMENTS
    ]
    return "&".join(kept)
