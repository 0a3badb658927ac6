"""Answers in a form that was asked for: by constraint, by filling in, or by validation."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from hyperllama_nb.engines.events import Event
from hyperllama_nb.service.structure.schema import read, subschemas

if TYPE_CHECKING:
    from hyperllama_nb.service.running import RunningEngine

__all__ = ["Mode", "modes", "plan", "prepare", "read", "structured"]

Mode: TypeAlias = Literal["constrained", "filled", "validated"]

_HELD = frozenset(
    {
        *("type", "enum", "const", "anyOf", "$ref", "properties", "required"),
        *("additionalProperties", "items", "prefixItems", "minItems", "maxItems", "minLength"),
        *("maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    }
)
"""The keywords that an engine's grammar can hold a model to."""

_LIMITS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})


async def prepare() -> None:
    """Import what reads a schema, in a thread: it takes a second, once, and others' streams go on.

    `read` needs it for a schema, and a tool call that is demanded does.
    """
    await asyncio.to_thread(import_module, "jsonschema")


def plan(schema: Any, able: frozenset[str]) -> Mode:
    """Return how a `format` is met by an engine with these capabilities.

    "constrained": the engine follows it by itself. "filled": the service writes the structure and
    the model fills the leaves. "validated": the model writes until an answer follows it.
    """
    from hyperllama_nb.service.structure.compile import UnfilledError, compile_schema

    if "constrain" in able and _holdable(schema):
        return "constrained"
    try:
        compile_schema(schema)
    except UnfilledError:
        return "validated"
    return "filled"


def modes(able: frozenset[str]) -> dict[str, str]:
    """Return how an engine with these capabilities meets schemas of the subset, "json", others."""
    constrain = "constrain" in able
    return {
        "format": "constrained" if constrain else "filled",
        "format_json": "constrained" if constrain else "validated",
        "format_other": "validated",
    }


def structured(
    engine: "RunningEngine",
    ids: Sequence[int],
    schema: Any,
    params: dict[str, Any],
    limit: int,
    mode: str,
) -> AsyncGenerator[Event, None]:
    """Complete the token ids with JSON that follows `schema`, of at most `limit` tokens.

    Where the tokens run out, the last event has the reason "length", and the JSON is closed all
    the same. Stop strings in `params` are passed over: they would leave half of it. Raises
    EngineError where no answer follows the schema.
    """
    from hyperllama_nb.service.structure.fill import filled
    from hyperllama_nb.service.structure.free import constrained, validated

    way = {"constrained": constrained, "filled": filled, "validated": validated}[mode]
    return way(engine, ids, schema, params, limit)


def _holdable(schema: Any) -> bool:
    """Tell whether a grammar can say all that a schema says."""
    if not isinstance(schema, Mapping):
        return True
    from hyperllama_nb.service.structure.compile import ALL

    for one in subschemas(schema):
        stated = one.keys() & ALL
        if not stated <= _HELD or (stated & _LIMITS and one.get("type") != "integer"):
            return False
    return True
