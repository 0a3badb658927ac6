"""Who asks at the door: the holder of a key, or a user of the Jupyter server."""

import re

from jupyter_core.utils import ensure_async
from jupyter_server.auth import User
from jupyter_server.base.handlers import JupyterHandler
from tornado import web

from hyperllama_nb.access.callers import Caller
from hyperllama_nb.access.keys import KeyStore, credential
from hyperllama_nb.access.scopes import scope_of
from hyperllama_nb.errors import AuthenticationError, ForbiddenError, ServiceError

RESOURCES: dict[str | None, tuple[str, str]] = {
    None: ("read", "hyperllama"),
    "infer": ("execute", "hyperllama:infer"),
    "models:read": ("read", "hyperllama:models"),
    "models:write": ("write", "hyperllama:models"),
    "admin": ("execute", "hyperllama:admin"),
}
"""The action and the resource that the server's authorizer is asked about, by scope."""

_HOW = (
    "Set OLLAMA_API_KEY to a key (`%llm connect` or `hyperllama key create` makes one) or to the "
    "token of this Jupyter server; the header is `Authorization: Bearer …`."
)

_MADE_UP = re.compile(r"[0-9a-f]{32}")
"""The name that Jupyter gives to whom it knows by the server's token alone."""


def key_of(handler: JupyterHandler) -> str | None:
    """Return the key that a request carries, in a header or as `?token=`, or None."""
    given = handler.request.headers
    argument = handler.get_query_argument("token", "")
    return credential(given.get("Authorization"), given.get("X-API-Key")) or credential(
        f"token {argument}"
    )


def holder(keys: KeyStore, text: str) -> Caller:
    """Return who holds a key; raises AuthenticationError if it is unknown or expired."""
    found = keys.find(text)
    if found is None:
        raise AuthenticationError(
            "This key is not known: it is mistyped, was revoked, or has expired. "
            "`hyperllama key list` shows the keys. " + _HOW
        )
    return found


def check_key(caller: Caller, method: str, path: str) -> None:
    """Raise ForbiddenError if a key does not hold what a request needs.

    What no route answers is left to the service, which says that there is none.
    """
    scope = scope_of(method, path)
    if scope in (None, "admin") or caller.may(scope):
        return
    raise ForbiddenError(
        f"This needs the scope {scope}, and the key has {', '.join(sorted(caller.scopes))}. "
        f"`hyperllama key create --scope {scope}` makes a key that has it."
    )


async def user_of(handler: JupyterHandler, method: str, path: str) -> Caller:
    """Return the Jupyter user who asks, with the one scope that the request needs.

    `handler` has run Jupyter's `prepare`. Raises AuthenticationError without a user, and
    ForbiddenError if the server's authorizer denies it.
    """
    user = handler.current_user
    if user is None:
        raise AuthenticationError(f"{_problem(handler)} {_HOW}")
    scope = scope_of(method, path)
    action, resource = RESOURCES[scope]
    allowed = await ensure_async(handler.authorizer.is_authorized(handler, user, action, resource))
    if not allowed and scope != "admin":
        raise ForbiddenError(
            f"The authorizer of this Jupyter server does not allow {_name(handler, user)} to "
            f"{action} {resource}. Ask the administrator of the server, or for a key."
        )
    return Caller(_name(handler, user), frozenset({scope} if scope and allowed else ()))


def refusal(handler: JupyterHandler, error: web.HTTPError) -> Exception:
    """Return Jupyter's refusal in words that name the next step; its own name `_xsrf` at most."""
    if error.status_code >= 500:
        return ServiceError(
            f"The Jupyter server could not tell who asks (status {error.status_code}): "
            f"{error.log_message or error.reason}. Its log may tell why."
        )
    if getattr(handler, "current_user", None) is None:
        return AuthenticationError(f"{_problem(handler)} {_HOW}")
    if error.status_code == 404:
        origin = handler.request.headers.get("Origin", "unknown")
        return ForbiddenError(
            f"Pages from {origin} may not ask this Jupyter server. Name the origin in "
            "ServerApp.allow_origin, or send a key."
        )
    return ForbiddenError(
        "A request that a browser's login vouches for needs the header X-XSRFToken, with the "
        "value of the cookie _xsrf. Programs send a credential instead. " + _HOW
    )


def foreign_host(handler: JupyterHandler) -> ForbiddenError:
    """Return the refusal of a Host header that does not name this machine."""
    return ForbiddenError(
        f"This Jupyter server does not answer for the host {handler.request.host!r}. Use "
        "localhost in the URL, or set ServerApp.allow_remote_access where the server runs."
    )


def _problem(handler: JupyterHandler) -> str:
    given = handler.request.headers.get("Authorization") or handler.get_query_argument("token", "")
    if given:
        return "The credential is neither a key nor the token of this Jupyter server."
    return "This address asks for a credential, and the request has none."


def _name(handler: JupyterHandler, user: User) -> str:
    """Return the caller's id: a name that is made up for each request would be nobody's turn."""
    if handler.token_authenticated and _MADE_UP.fullmatch(user.username):
        return "jupyter:token"
    return f"jupyter:{user.username}"
