"""One step of a pull, as Ollama tells it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """What a pull is doing; sizes in bytes, `None` where unknown."""

    status: str
    digest: str | None = None
    total: int | None = None
    completed: int | None = None

    def line(self) -> dict[str, Any]:
        """Return the object of the NDJSON line: fields that are unknown are left out."""
        fields = {
            "status": self.status,
            "digest": self.digest,
            "total": self.total,
            "completed": self.completed,
        }
        return {key: value for key, value in fields.items() if value is not None}
