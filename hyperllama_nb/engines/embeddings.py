"""Asking an engine for embeddings: OpenAI's `/v1/embeddings`, with token ids for texts."""

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hyperllama_nb.errors import EngineError, RequestError

if TYPE_CHECKING:
    from hyperllama_nb.engines.openai import Wire

Vector = list[float]

PROBE = [1]
"""The text of a proof of readiness: any vocabulary has a second token."""


async def embed(wire: "Wire", model: str, texts: Sequence[Sequence[int]]) -> list[Vector]:
    """Return a vector for each text, in order, as the engine makes it: of any length.

    A text is its token ids, those around it included. Cancelling closes the connection.
    Raises RequestError if a vector is not of finite numbers, EngineError if the answer is not a
    vector for each text, and what `Wire.ask` raises.
    """
    body = {"model": model, "input": [list(ids) for ids in texts]}
    answer = await wire.ask("/v1/embeddings", json.dumps(body).encode())
    rows = answer.get("data")
    if not isinstance(rows, list) or len(rows) != len(texts):
        raise EngineError(
            f"The engine was asked for {len(texts)} embeddings and gave "
            f"{len(rows) if isinstance(rows, list) else 'none'}. Run it again; if it stays so, "
            "its log (`hyperllama logs MODEL`) has the cause."
        )
    ordered: list[Vector | None] = [None] * len(rows)
    for place, row in enumerate(rows):
        found = row if isinstance(row, dict) else {}
        index = found.get("index", place)
        if type(index) is int and 0 <= index < len(rows):
            ordered[index] = _vector(found.get("embedding"))
    vectors = [vector for vector in ordered if vector]
    if len(vectors) != len(rows) or len({len(vector) for vector in vectors}) > 1:
        raise EngineError(
            "The engine's embeddings are not one vector for each text, all of one length. Its log "
            "(`hyperllama logs MODEL`) may have the cause."
        )
    return vectors


def _vector(values: Any) -> Vector | None:
    """Return the numbers of a vector; None for what is none. Raises RequestError."""
    if not isinstance(values, list):
        return None
    # Not a number is null in JSON, or a word that Python reads.
    if any(value is None or not math.isfinite(value) for value in values):
        raise RequestError(
            "embedding contains NaN or Inf values: the model cannot embed one of these texts. Send "
            "them one by one to find it, and leave it out or change it."
        )
    return values
