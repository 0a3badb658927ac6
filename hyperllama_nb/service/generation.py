"""From a request to a stream of pieces with their counts and durations."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Self

from hyperllama_nb.models.store import Store
from hyperllama_nb.service.abilities import insertion
from hyperllama_nb.service.ask import Ask, Outcome, Piece
from hyperllama_nb.service.checks import check
from hyperllama_nb.service.deadline import within
from hyperllama_nb.service.fitting import render
from hyperllama_nb.service.manager import Manager
from hyperllama_nb.service.metrics import Metrics
from hyperllama_nb.service.prompt import Prompter
from hyperllama_nb.service.run import Run
from hyperllama_nb.service.running import Report, RunningEngine

__all__ = ["Ask", "Outcome", "Piece", "check", "engine_for", "generate", "rendered"]


def engine_for(
    manager: Manager, ask: Ask, report: Report | None = None
) -> AbstractAsyncContextManager[RunningEngine]:
    """Return a context in which the model that `ask` names is loaded and in use."""
    return manager.use(
        ask.manifest,
        context=ask.options.num_ctx,
        backend=ask.backend,
        keep_alive=ask.keep_alive,
        lease=ask.lease,
        report=report,
    )


def generate(
    manager: Manager, ask: Ask, report: Report | None = None
) -> AsyncGenerator[Piece | Outcome, None]:
    """Stream the pieces of the answer, then the Outcome.

    Loads the model if needed. `report` gets progress lines before the first piece. Closing the
    iterator cancels the generation in the engine. Raises DeadlineError where requests may take
    only so long.
    """
    parts = _generate(manager, ask, report)
    seconds = manager.settings.request_timeout
    return within(seconds, parts) if 0 < seconds < math.inf else parts


async def _generate(
    manager: Manager, ask: Ask, report: Report | None
) -> AsyncGenerator[Piece | Outcome, None]:
    clock = time.perf_counter_ns
    entered = clock()
    # The manager counts those who leave earlier.
    async with engine_for(manager, ask, report) as engine, _Stages(manager.metrics) as stage:
        loaded = clock()
        run = await Run.prepare(engine, ask, insertion(manager.store, ask.manifest))
        outcome = run.outcome
        outcome.load = loaded - entered
        if run.limit > 0:
            queued = clock()
            waiting = _queue_report(engine, entered, report)
            async with engine.admission.slot(waiting, caller=ask.caller):
                stage.now = "prefill"
                sent = clock()
                outcome.queue = sent - queued
                stage.queued(engine.model, outcome.queue)
                first = last = 0
                async with contextlib.aclosing(run.pieces()) as pieces:
                    async for piece in pieces:
                        # An empty piece is a token too: half a character, or text held back.
                        last = clock()
                        if piece.text or piece.thinking or piece.tool_calls or piece.logprobs:
                            if not first:
                                first = last
                                stage.now = "streaming"
                                engine.tally.first_token((first - entered) / 1e9)
                            outcome.add(piece)
                            yield piece
                first = first or clock()
                outcome.first_token = first - entered
                outcome.prompt_eval = first - sent
                outcome.eval = max(0, last - first)
            outcome.reply = engine.prompter.encode(outcome.thinking + outcome.text)
            # Not every engine counts.
            outcome.output_tokens = outcome.output_tokens or len(outcome.reply)
        else:
            outcome.reason = "length"
        outcome.total = clock() - entered
        stage.ended(engine.model, outcome)
    yield outcome


class _Stages:
    """Tells the metrics how far a request came, and where its client left it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.now = "queued"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None and issubclass(kind, asyncio.CancelledError | GeneratorExit):
            self._metrics.cancellations.labels(self.now).inc()

    def queued(self, model: str, duration: int) -> None:
        """Note how long it waited for a slot, in nanoseconds."""
        metrics = self._metrics
        metrics.queue_wait.labels(metrics.model(model)).observe(duration / 1e9)

    def ended(self, model: str, outcome: Outcome) -> None:
        """Note a whole answer."""
        if outcome.structure is not None:
            self._metrics.structure.labels(outcome.structure).inc()
        if outcome.first_token:
            self._metrics.generated(model, outcome.first_token, outcome.eval, outcome.output_tokens)


async def rendered(store: Store, ask: Ask) -> str:
    """Return the text of the prompt that the model would be given; loads nothing."""
    prompter = Prompter(store.view(ask.manifest), ask.manifest)
    return await asyncio.to_thread(render, ask, prompter, insertion(store, ask.manifest))


def _queue_report(
    engine: RunningEngine, entered: int, report: Report | None
) -> Callable[[int], Any] | None:
    """Return what turns a place in the queue into a progress line."""
    if report is None:
        return None

    async def tell(position: int) -> None:
        elapsed = (time.perf_counter_ns() - entered) / 1e9
        await report(
            {
                "status": "queued",
                "model": engine.model,
                "position": position,
                "elapsed": round(elapsed, 3),
            }
        )

    return tell
