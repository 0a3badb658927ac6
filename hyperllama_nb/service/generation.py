"""From a prompt to a stream of text with its counts and durations."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from hyperllama_nb.engines.openai import sampling
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.service.decode import until_stop
from hyperllama_nb.service.manager import Manager
from hyperllama_nb.service.options import Options
from hyperllama_nb.service.prompt import Fitted, Prompter
from hyperllama_nb.service.running import Report, RunningEngine

LONG_PROMPT = 4_000
"""Characters above which tokenising leaves the event loop, so that other streams keep flowing."""


@dataclass(frozen=True)
class Ask:
    """What one request wants of a model.

    `fit` renders and tokenises the prompt for a context of that many tokens; `size` is about how
    many characters that takes.
    """

    manifest: Manifest
    options: Options
    fit: Callable[[Prompter, int], Fitted]
    size: int
    keep_alive: float | None = None
    lease: str | None = None
    backend: str | None = None


@dataclass
class Outcome:
    """How a generation went; durations in nanoseconds, counts in tokens.

    `prompt` and `reply` are token ids, the reply's as its text encodes. `first_token` counts from
    the request's arrival, `prompt_eval` from the moment the engine had it.
    """

    prompt: list[int]
    reply: list[int] = field(default_factory=list)
    text: str = ""
    reason: str = "stop"
    prompt_tokens: int = 0
    cached_tokens: int | None = None
    output_tokens: int = 0
    truncated_tokens: int = 0
    context_length: int = 0
    backend: str = ""
    seed: int | None = None
    ignored: tuple[str, ...] = ()
    total: int = 0
    load: int = 0
    queue: int = 0
    first_token: int = 0
    prompt_eval: int = 0
    eval: int = 0

    def metrics(self) -> dict[str, Any]:
        """Return the counts and durations of Ollama's final object, and ours beside them."""
        fields: dict[str, Any] = {
            "done_reason": self.reason,
            "total_duration": self.total,
            "load_duration": self.load,
            "prompt_eval_count": self.prompt_tokens,
            "prompt_eval_duration": self.prompt_eval,
            "eval_count": self.output_tokens,
            "eval_duration": self.eval,
        }
        if self.cached_tokens is not None:
            fields["prompt_eval_cached_count"] = self.cached_tokens
        fields["hyperllama"] = {
            "first_token_duration": self.first_token,
            "queue_duration": self.queue,
            "truncated_tokens": self.truncated_tokens,
            "context_length": self.context_length,
            "backend": self.backend,
            "seed": self.seed,
            "ignored_options": list(self.ignored),
        }
        return fields


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


async def generate(
    manager: Manager, ask: Ask, report: Report | None = None
) -> AsyncGenerator[str | Outcome, None]:
    """Stream the pieces of text, then the Outcome.

    Loads the model if needed. `report` gets progress lines before the first piece. Closing the
    iterator cancels the generation in the engine.
    """
    clock = time.perf_counter_ns
    entered = clock()
    async with engine_for(manager, ask, report) as engine:
        loaded = clock()
        context = min(ask.options.num_ctx or engine.spec.context, engine.spec.context)
        if ask.size > LONG_PROMPT:
            fitted = await asyncio.to_thread(ask.fit, engine.prompter, context)
        else:
            fitted = ask.fit(engine.prompter, context)
        outcome = Outcome(
            prompt=fitted.ids,
            prompt_tokens=len(fitted.ids),
            truncated_tokens=fitted.truncated,
            context_length=context,
            backend=engine.backend.name,
            ignored=ask.options.ignored,
            load=loaded - entered,
        )
        room = context - len(fitted.ids)
        wanted = ask.options.num_predict
        limit = room if wanted is None else min(wanted, room)
        if limit > 0:
            params = sampling(ask.options.values)
            outcome.seed = params.get("seed")
            params["max_tokens"] = limit
            queued = clock()
            async with engine.admission.slot(_queue_report(engine, entered, report)):
                sent = clock()
                outcome.queue = sent - queued
                pieces: list[str] = []
                first = last = sent
                events = until_stop(
                    engine.complete(fitted.ids, params),
                    ask.options.stop,
                    count=lambda text: len(engine.prompter.encode(text)),
                )
                async with contextlib.aclosing(events):
                    async for event in events:
                        # A piece without text is a token too: half a character, or the end.
                        last = clock()
                        if event.text:
                            if not pieces:
                                first = last
                            pieces.append(event.text)
                            yield event.text
                        if event.reason:
                            outcome.reason = event.reason
                        outcome.cached_tokens = event.cached_tokens or outcome.cached_tokens
                        outcome.output_tokens = event.output_tokens or outcome.output_tokens
                outcome.text = "".join(pieces)
                outcome.reply = engine.prompter.encode(outcome.text)
                # Not every engine counts.
                outcome.output_tokens = outcome.output_tokens or len(outcome.reply)
                if not pieces:
                    first = last = clock()
                outcome.first_token = first - entered
                outcome.prompt_eval = first - sent
                outcome.eval = last - first
        else:
            outcome.reason = "length"
        outcome.total = clock() - entered
    yield outcome


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
