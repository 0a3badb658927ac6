"""Answers in a form that was asked for: by constraint, by filling in, or by validation."""

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

from hyperllama_nb.engines.events import Event

if TYPE_CHECKING:
    from hyperllama_nb.service.running import RunningEngine


def read(value: Any) -> Any:
    """Return the value of `format`."""
    return value or None


def plan(schema: Any, able: frozenset[str]) -> str:
    """Return how a format is met by an engine with these capabilities."""
    del schema, able
    return "validated"


def structured(
    engine: "RunningEngine",
    ids: Sequence[int],
    schema: Any,
    params: dict[str, Any],
    limit: int,
    mode: str,
) -> AsyncGenerator[Event, None]:
    """Complete the token ids in the form of `schema`."""
    del schema, mode
    return engine.complete(ids, {**params, "max_tokens": limit})
