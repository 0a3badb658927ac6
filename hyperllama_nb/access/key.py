"""A key: what a program sends to be let in."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from hyperllama_nb.access.callers import Caller


@dataclass(frozen=True)
class Key:
    """A key as the file knows it: everything but the secret.

    `hash` is the SHA-256 of the whole key in hexadecimal: 32 random bytes need no slow hash.
    `requests_per_minute` and `concurrent` bound what it may do; None is no bound.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    created: datetime
    expires: datetime | None
    last_four: str
    hash: str = field(repr=False)
    requests_per_minute: int | None = None
    concurrent: int | None = None

    @property
    def expired(self) -> bool:
        """Tell whether its time is over."""
        return self.expires is not None and self.expires <= datetime.now(UTC)

    @property
    def caller(self) -> Caller:
        """Return who asks when this key is sent."""
        return Caller(f"key:{self.id}", frozenset(self.scopes))

    def to_json(self) -> dict[str, Any]:
        """Return the key as the file holds it; times in ISO 8601 with their offset."""
        expires = self.expires.isoformat() if self.expires else None
        return {**asdict(self), "created": self.created.isoformat(), "expires": expires}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Return the key that the file holds; raises KeyError, TypeError or ValueError."""
        expires = content["expires"]
        return cls(
            id=str(content["id"]),
            name=str(content["name"]),
            scopes=tuple(map(str, content["scopes"])),
            created=datetime.fromisoformat(content["created"]),
            expires=datetime.fromisoformat(expires) if expires else None,
            last_four=str(content["last_four"]),
            hash=bytes.fromhex(content["hash"]).hex(),
            requests_per_minute=content.get("requests_per_minute"),
            concurrent=content.get("concurrent"),
        )
