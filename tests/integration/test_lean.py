"""The lean engine on real MAX: its text is `max serve`'s, and that of each sequence alone."""

import asyncio
import dataclasses
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from hyperllama_nb.engines.base import LaunchSpec
from hyperllama_nb.engines.events import Event
from hyperllama_nb.engines.max import MaxBackend
from hyperllama_nb.engines.openai import Wire
from hyperllama_nb.engines.process import EngineProcess
from hyperllama_nb.models.store import Store
from hyperllama_nb.service.config import HyperLlamaService
from hyperllama_nb.service.launching import plan
from tests.integration.kernel import MODEL

READY = 600.0
TOKENS = 16
NEAR = 0.02
"""Log-probability between the two likeliest tokens, below which either is right."""

BEGINNINGS = (
    "The capital of France",
    "In the year 1969",
    "A simple recipe for bread",
    "Once upon a time",
    "The theory of relativity",
    "def fibonacci(n):",
    "Dear Sir or Madam",
    "The best way to learn",
    "Water boils at",
    "My favourite animal",
)
ENDINGS = (" is", " was", ", which", ", and", " because", ":", " when", " in", ". It", " to")


@pytest.fixture
def place(models: str) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="hl", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def engine(place: Path, model: str, launch: str) -> AsyncIterator[Wire]:
    """Run an engine of MAX in the way that `launch` names ("lean" or "serve")."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPERLLAMA_MAX_LAUNCH", launch)
        backend, store = MaxBackend(), Store()
        planned: LaunchSpec = await plan(
            store.get(model), store, backend, HyperLlamaService(num_parallel=8), None
        )
        spec = dataclasses.replace(planned, workdir=place / launch, socket=place / launch / "s")
        assert backend.launch(spec).startswith({"lean": "the lean engine"}.get(launch, "`max"))
        process = EngineProcess(spec.socket, spec.workdir, place / f"{launch}.log")
        try:
            await process.start(backend.command(spec), backend, print)
            yield await process.wait_ready(model, READY)
        finally:
            await process.stop()


async def answer(wire: Wire, model: str, ids: Sequence[int], **params: Any) -> list[Event]:
    """Return the events of a greedy answer."""
    given = {"model": model, "temperature": 0, "max_tokens": TOKENS, **params}
    async with aclosing(wire.stream(ids, given)) as events:
        return [event async for event in events]


def text(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events)


def encode(model: str, texts: Sequence[str]) -> list[list[int]]:
    store = Store()
    path = store.view(store.get(model)) / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    return [tokenizer.encode(one).ids for one in texts]


def test_a_hundred_greedy_texts_are_those_of_max_serve(place: Path) -> None:
    prompts = encode(MODEL, [first + last for first in BEGINNINGS for last in ENDINGS])
    assert len(prompts) == 100

    async def texts(launch: str, **params: Any) -> list[list[Event]]:
        async with engine(place, MODEL, launch) as wire:
            busy = asyncio.Semaphore(8)

            async def one(ids: Sequence[int]) -> list[Event]:
                async with busy:
                    return await answer(wire, MODEL, ids, **params)

            return list(await asyncio.gather(*map(one, prompts)))

    async def both() -> tuple[list[list[Event]], list[list[Event]]]:
        return await texts("lean", logprobs=2), await texts("serve")

    lean, serve = asyncio.run(both())
    gaps = [gap(ours, text(theirs)) for ours, theirs in zip(lean, serve, strict=True)]
    different = [one for one in gaps if one is not None]
    print(
        f"{len(prompts) - len(different)} of {len(prompts)} equal; gaps of the others:", different
    )
    assert all(one < NEAR for one in different)


def gap(ours: Sequence[Event], theirs: str) -> float | None:
    """Return how far the two likeliest tokens lie apart where the texts part; None if equal."""
    seen = ""
    for event in ours:
        if not theirs.startswith(seen + event.text):
            first, second = (value for _, value in event.logprobs[0].top[:2])
            return first - second
        seen += event.text
    return None


def test_sequences_that_come_and_go_have_the_text_that_they_have_alone(place: Path) -> None:
    rng = random.Random(4)
    [words] = encode(MODEL, [" ".join(BEGINNINGS) * 12])
    shared = words[:300]
    prompts = [
        (shared if rng.random() < 0.5 else []) + rng.sample(words, rng.randrange(2, 150))
        for _ in range(64)
    ]
    lengths = [rng.randrange(1, 24) for _ in prompts]
    cancelled = {index for index in range(len(prompts)) if rng.random() < 0.25}

    async def work() -> None:
        async with engine(place, MODEL, "lean") as wire:

            async def join(index: int) -> str:
                await asyncio.sleep(rng.random() * 6)
                params = {"model": MODEL, "temperature": 0, "max_tokens": lengths[index]}
                found = ""
                async with aclosing(wire.stream(prompts[index], params)) as events:
                    async for event in events:
                        found += event.text
                        if index in cancelled and len(found) > 10:
                            break
                return found

            together = await asyncio.gather(*map(join, range(len(prompts))))
            for index, found in enumerate(together):
                events = await answer(wire, MODEL, prompts[index], max_tokens=lengths[index])
                alone = text(events)
                assert found == alone or (index in cancelled and alone.startswith(found))

    asyncio.run(work())
