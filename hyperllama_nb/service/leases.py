"""Who keeps which model loaded: a lease lives as long as its holder's connection."""

import secrets
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Lease:
    """A client's claim on the models that it has used."""

    kind: str
    pid: int | None
    models: set[str] = field(default_factory=set)
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    def status(self) -> dict[str, Any]:
        """Return the lease's line of `/admin/status`."""
        return {
            "id": self.id,
            "kind": self.kind,
            "pid": self.pid,
            "models": sorted(self.models),
        }
