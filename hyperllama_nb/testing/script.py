"""What a FakeEngine does, as data."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

READY_LOG = (
    "00:00:00.000 INFO: Starting server...",
    "00:00:00.001 INFO: Initializing model pipeline...",
    "00:00:00.002 INFO: Building, compiling, and initializing model...",
    "00:00:00.003 INFO: Compiling model took 0.0 seconds",
    "00:00:00.004 INFO: Server ready on http://0.0.0.0:8000",
)
"""What MAX logs while it starts, as far as the phases of a start are read from it."""


@dataclass(frozen=True)
class Script:
    """How an engine behaves: its text, its timing, and what goes wrong.

    Durations are seconds. Each piece of text counts as one token. A number of pieces after which
    something happens counts from the beginning of one answer; 0 is before the response's head.
    """

    pieces: Sequence[str] = ("The", " capital", " of", " France", " is", " Paris", ".")
    repeat: int = 1
    """How often the pieces come; with a large number the request's `max_tokens` ends them."""
    reason: Literal["stop", "length"] = "stop"
    """How an answer ends that neither a stop string nor `max_tokens` ended."""
    delay_first: float = 0.0
    delay: float = 0.0
    """Time before the first piece, and before each other one."""
    delay_end: float = 0.0
    """Time between the last piece of a stream and its end, with the token counts."""
    slots: int = 0
    """How many requests run at a time while others wait without a sign; 0 is all."""
    bundle: int = 1
    """Pieces in one chunk of the stream."""
    halves: bool = False
    """Whether an empty chunk precedes each piece, as for a token that ends inside a character."""
    split: int = 0
    """Bytes in one write to the socket; 0 writes each frame whole."""
    usage: bool = True
    """Whether the stream tells its token counts when it is asked to."""
    stall_after: int | None = None
    """Pieces after which nothing comes any more, while the connection stays open."""
    width: int = 8
    """Numbers in an embedding."""
    poison: int | None = None
    """A token whose texts have an embedding that is not of numbers."""
    error_after: int | None = None
    """Pieces after which an error frame comes, and the end."""
    die_after: int | None = None
    """Pieces after which the connection breaks; a FakeEngine of its own process exits with 1."""
    status: int = 200
    """An HTTP status of 400 or more answers each request with `error`; 429 has Retry-After."""
    error: str = "Internal server error."
    warmup: int = 0
    """That many first requests are answered with one token at once, whatever the script says."""
    ready: bool = True
    """Whether completions are answered at all; otherwise each one is a 503."""
    startup: float = 0.0
    """Time before the socket exists."""
    log: Sequence[str] = READY_LOG
    """Lines on standard error before the socket exists; in a process of its own only."""
    crash: int | None = None
    """An exit status with which the process ends instead of serving."""
    stubborn: bool = False
    """Whether the process ignores SIGTERM."""

    def to_json(self) -> str:
        """Return the script as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Script":
        """Return the script that `to_json` wrote; raises ValueError for unknown fields."""
        values: dict[str, Any] = json.loads(text)
        unknown = values.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"A script has no field {', '.join(sorted(unknown))}.")
        return cls(**values)
