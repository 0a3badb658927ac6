"""Who asks: a caller, what it may do, and the header in which a door tells the service."""

import base64
import json
from dataclasses import dataclass
from typing import Literal, Self

Scope = Literal["infer", "models:read", "models:write", "admin"]

SCOPES: tuple[Scope, ...] = ("infer", "models:read", "models:write", "admin")
"""What a caller may be allowed: to generate, to see the models, to change them, and everything."""

HEADER = "X-HyperLlama-Caller"
"""Read on the Unix socket alone, whose other end is the user; doors strip it from the outside."""


@dataclass(frozen=True)
class Caller:
    """Somebody who sends requests; `id` is stable, bounded in length, and no secret.

    >>> ann = Caller("jupyter:ann", frozenset({"infer"}))
    >>> ann.may("infer"), ann.may("models:write"), Caller.from_header(ann.to_header()) == ann
    (True, False, True)
    """

    id: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Tell whether the caller has a scope; `admin` has them all."""
        return scope in self.scopes or "admin" in self.scopes

    def to_header(self) -> str:
        """Return the caller as the value of `HEADER`."""
        content = json.dumps({"id": self.id, "scopes": sorted(self.scopes)})
        return base64.urlsafe_b64encode(content.encode()).decode()

    @classmethod
    def from_header(cls, value: str) -> Self:
        """Return the caller that a header tells; raises ValueError if it is no such header."""
        try:
            content = json.loads(base64.b64decode(value.encode(), altchars=b"-_", validate=True))
            id_, scopes = content["id"], content["scopes"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError("not a caller") from error
        if not (isinstance(id_, str) and isinstance(scopes, list)) or not id_:
            raise ValueError("a caller has an id and a list of scopes")
        if not all(isinstance(scope, str) for scope in scopes):
            raise ValueError("a scope is a word")
        printable = "".join(c if c.isprintable() else "?" for c in id_[:200])
        return cls(printable, frozenset(scopes))


LOCAL = Caller("local", frozenset({"admin"}))
"""The user's own programs, on the Unix socket."""
