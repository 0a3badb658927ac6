"""The id of the request that is being answered: for the log, and for the engine's own."""

import re
import secrets
from contextvars import ContextVar

HEADER = "X-Request-Id"

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")
"""A task that a request starts keeps its id; `-` is for what no request started."""

_LEGAL = re.compile(r"[A-Za-z0-9._-]{1,128}")


def request_id(given: str | None) -> str:
    """Return the id that a client gave, where it is a legal one, else a new one.

    >>> request_id("job-7.a"), len(request_id("two words")), len(request_id(None))
    ('job-7.a', 16, 16)
    """
    if given is not None and _LEGAL.fullmatch(given):
        return given
    return secrets.token_hex(8)
