"""From texts to vectors: cut, counted, sent to the engine in pieces, and made of unit length."""

import asyncio
import contextlib
import math
import time
from array import array
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hyperllama_nb.engines.embeddings import Vector
from hyperllama_nb.errors import PromptTooLongError, RequestError
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.service.deadline import within
from hyperllama_nb.service.manager import Manager
from hyperllama_nb.service.options import Options
from hyperllama_nb.service.running import RunningEngine

PIECE_TEXTS = 16
PIECE_TOKENS = 2048
"""What goes to the engine at once, padding included: others get their turn after that much."""

MOST_NUMBERS = 1 << 25
"""Numbers in all vectors of one answer: they are held in memory until the last one is there."""

_SMALLEST = 1e-12
"""The least length that a vector is divided by, as in Ollama: one of zeros stays as it is."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What one request wants embedded; the other fields are those of an Ask.

    `dimensions` is how many numbers of each vector to keep; 0, or more than there are, keeps all.
    """

    manifest: Manifest
    texts: Sequence[str]
    options: Options
    dimensions: int = 0
    truncate: bool = True
    keep_alive: float | None = None
    lease: str | None = None
    caller: str = "local"

    def check(self) -> None:
        """Raise RequestError for more than fits into an answer."""
        most = MOST_NUMBERS // max(1, self.manifest.embedding_length)
        if len(self.texts) > most:
            raise RequestError(
                f"The input has {len(self.texts)} texts, and one request may have {most} for "
                f'"{self.manifest.name.display}". Send them in several requests.'
            )


@dataclass
class Embedded:
    """The vectors, of unit length and in order; counts in tokens, durations in nanoseconds.

    `tokens` were embedded, `truncated` left out of texts that were too long.
    """

    vectors: list["array[float]"] = field(default_factory=list)
    tokens: int = 0
    truncated: int = 0
    context_length: int = 0
    backend: str = ""
    ignored: tuple[str, ...] = ()
    total: int = 0
    load: int = 0
    queue: int = 0

    def metrics(self) -> dict[str, Any]:
        """Return the counts and durations of Ollama's answer, and ours beside them."""
        return {
            "total_duration": self.total,
            "load_duration": self.load,
            "prompt_eval_count": self.tokens,
            "hyperllama": {
                "queue_duration": self.queue,
                "truncated_tokens": self.truncated,
                "context_length": self.context_length,
                "backend": self.backend,
                "ignored_options": list(self.ignored),
            },
        }


async def embed(manager: Manager, wanted: Wanted) -> Embedded:
    """Return the vectors of all texts; loads the model if needed, also where there are none.

    Cancelling ends the request in the engine. Raises PromptTooLongError for a text that is too
    long and may not be cut, BusyError if too many wait, DeadlineError where requests may take
    only so long, and what the engine raises.
    """
    seconds = manager.settings.request_timeout
    parts = _embed(manager, wanted)
    bounded = within(seconds, parts) if 0 < seconds < math.inf else parts
    async with contextlib.aclosing(bounded):
        return await anext(bounded)


async def _embed(manager: Manager, wanted: Wanted) -> AsyncGenerator[Embedded, None]:
    """Yield the result: a generator, as whatever has a deadline."""
    clock = time.perf_counter_ns
    entered = clock()
    result = Embedded(ignored=wanted.options.ignored)
    async with manager.use(
        wanted.manifest,
        context=wanted.options.num_ctx,
        backend=wanted.options.backend,
        keep_alive=wanted.keep_alive,
        lease=wanted.lease,
    ) as engine:
        result.load = clock() - entered
        result.backend = engine.backend.name
        result.context_length = min(
            wanted.options.num_ctx or engine.spec.context, engine.spec.context
        )
        if wanted.texts:
            engine.requests += 1
            inputs = await asyncio.to_thread(_fit, engine, wanted, result)
            await _run(engine, wanted, inputs, result)
    result.total = clock() - entered
    yield result


def _fit(engine: RunningEngine, wanted: Wanted, result: Embedded) -> list[list[int]]:
    """Return the token ids of each text, cut where that is needed and allowed."""
    limit = result.context_length
    inputs: list[list[int]] = []
    for number, text in enumerate(wanted.texts):
        ids, count = engine.prompter.whole(text, limit)
        which = f"text {number + 1} of {len(wanted.texts)}" if len(wanted.texts) > 1 else "it"
        if not count:
            raise RequestError(
                f"{which} has no tokens, so there is nothing to embed. Leave it out."
            )
        if count > limit and not wanted.truncate:
            raise PromptTooLongError(
                f"the input length exceeds the context length: {which} has {count} tokens, and "
                f'"{engine.model}" takes {limit}. Shorten it, or allow a cut with `truncate: true`.'
            )
        if not ids:
            raise PromptTooLongError(
                f"input after truncation exceeds maximum context length: {limit} tokens leave no "
                "room for the text between the tokens around it. Raise `num_ctx`."
            )
        result.tokens += len(ids)
        result.truncated += count - len(ids)
        inputs.append(ids)
    return inputs


async def _run(
    engine: RunningEngine, wanted: Wanted, inputs: Sequence[Sequence[int]], result: Embedded
) -> None:
    """Have each piece embedded in a turn of its own, so that other callers get theirs between."""
    found: dict[int, array[float]] = {}
    metrics = engine.metrics
    stage = "queued"
    try:
        for piece in pieces(inputs):
            asked = time.perf_counter_ns()
            async with engine.admission.slot(caller=wanted.caller):
                stage = "prefill"
                result.queue += time.perf_counter_ns() - asked
                vectors = await engine.embed([inputs[index] for index in piece])
            for index, vector in zip(piece, vectors, strict=True):
                found[index] = unit(vector, wanted.dimensions)
    except asyncio.CancelledError:
        metrics.cancellations.labels(stage).inc()
        raise
    metrics.queue_wait.labels(metrics.model(engine.model)).observe(result.queue / 1e9)
    result.vectors = [found[index] for index in range(len(inputs))]


def pieces(inputs: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yield the indices of the texts that go to the engine together.

    Texts of about one length do: each is padded to the longest.

    >>> list(pieces([[1] * 1500, [1], [1] * 1200]))
    [[1], [2], [0]]
    """
    piece: list[int] = []
    for index in sorted(range(len(inputs)), key=lambda index: len(inputs[index])):
        padded = (len(piece) + 1) * len(inputs[index])
        if piece and (len(piece) == PIECE_TEXTS or padded > PIECE_TOKENS):
            yield piece
            piece = []
        piece.append(index)
    if piece:
        yield piece


def unit(vector: Vector, dimensions: int = 0) -> "array[float]":
    """Return the first `dimensions` numbers (0: all) as float32, made of length 1.

    >>> list(unit([3.0, 0.0, 4.0], 2)), list(unit([0.0, 0.0]))
    ([1.0, 0.0], [0.0, 0.0])
    """
    kept = vector[:dimensions] if dimensions > 0 else vector
    length = max(math.hypot(*kept), _SMALLEST)
    return array("f", [number / length for number in kept])
