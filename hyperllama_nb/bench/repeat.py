"""One prompt, several times, one after another."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from hyperllama_nb.bench.metrics import Run

if TYPE_CHECKING:
    from hyperllama_nb.client import Client


def measure(
    client: "Client",
    model: str,
    prompt: str,
    options: dict[str, Any] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Run:
    """Answer the prompt once and return the times and counts."""
    sent = clock()
    first: float | None = None
    last: float | None = None
    end: Any = {}
    with client.generate(model, prompt, stream=True, options=options) as stream:
        for chunk in stream:
            if chunk["response"]:
                last = clock()
                first = last if first is None else first
            end = chunk
    return Run(
        sent=sent,
        first=first,
        last=last,
        prompt_tokens=end.get("prompt_eval_count"),
        cached_tokens=end.get("prompt_eval_cached_count"),
        output_tokens=end.get("eval_count"),
    )


def repeat(
    client: "Client",
    model: str,
    prompt: str,
    count: int,
    options: dict[str, Any] | None = None,
) -> Iterator[Run]:
    """Measure `count` runs, after one that is not counted: it may load the model."""
    measure(client, model, prompt, options)
    for _ in range(count):
        yield measure(client, model, prompt, options)
