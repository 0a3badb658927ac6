"""What engines were expected to take of the memory, and what they take.

Run it on any machine: `python benchmarks/memory.py [MODEL …] [--contexts 4096] [--batches 1 4 8]`.
Each engine is measured after it has answered as many prompts at a time as its batch holds, each of
the whole context, as the proportional set size of all its processes and of its guard: pages that
are shared count once. An engine that compiles is started once before: a context that a model has
not been compiled for takes `max serve` a minute more.
"""

import argparse
import asyncio
import itertools
import os
import sys

from alone import Alone, engine_alone, planned

from hyperllama_nb.engines.embeddings import embed
from hyperllama_nb.engines.max import MaxBackend
from hyperllama_nb.engines.max.leaning import CHOICE
from hyperllama_nb.engines.memory import MIB
from hyperllama_nb.errors import HyperLlamaError
from hyperllama_nb.models import Store

WAYS = {
    "max, lean": ("max", "lean"),
    "max serve": ("max", "serve"),
    "llama.cpp": ("llamacpp", "lean"),
}
"""The ways to launch an engine: the backend, and what HYPERLLAMA_MAX_LAUNCH says."""

HEAD = (
    "| model | engine | context | batch | weights | cache | engine | expected | measured | off |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


async def use(engine: Alone) -> None:
    """Let the engine do all that it was launched for at a time."""
    length = engine.spec.context - 32
    prompts = [
        [100 + (7 * number + place) % 20_000 for place in range(length)]
        for number in range(engine.spec.batch or 1)
    ]
    if engine.spec.task == "embed":
        await embed(engine.wire, engine.model, prompts)
    else:
        await asyncio.gather(*(engine.answer(ids, 16) for ids in prompts))


async def row(model: str, way: str, context: int, batch: int) -> str | None:
    """Return a line of the table, with sizes in MiB; None where the model is launched otherwise.

    Raises HyperLlamaError.
    """
    name, os.environ[CHOICE] = WAYS[way]
    chosen, spec = await planned(model, name, context=context, batch=batch)
    if isinstance(chosen, MaxBackend) and chosen.launch(spec).startswith("`max serve`") != (
        way == "max serve"
    ):
        return None
    need = chosen.memory(spec)
    if chosen.warm(spec) is not None:
        # The start that compiles keeps what the compiler took; later ones find the code.
        async with engine_alone(chosen, spec):
            pass
    async with engine_alone(chosen, spec) as engine:
        await use(engine)
        await asyncio.sleep(2.5)  # a measurement is kept for two seconds
        taken = engine.process.memory()
    off = 100 * (need.total - taken) / taken
    sizes = (need.weights, need.cache, need.engine, need.total, taken)
    told = " | ".join(f"{size / MIB:.0f}" for size in sizes)
    return f"| {model} | {way} | {spec.context} | {spec.batch} | {told} | {off:+.0f} % |"


async def table(args: argparse.Namespace) -> None:
    """Print the table; a line says why an engine did not run."""
    models = args.models or [manifest.name.display for manifest in Store().list()]
    print(HEAD, flush=True)
    told: set[str] = set()
    for model, way in itertools.product(models, args.ways):
        for context, batch in itertools.product(args.contexts, args.batches):
            try:
                line = await row(model, way, context, batch)
            except HyperLlamaError as error:
                line = f"{model} on {way}: {error}"
            if line is not None and line not in told:
                print(line, flush=True)
                told.add(line)


def main() -> int:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="all of the store when missing")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--contexts", nargs="+", type=int, default=[4096])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 8])
    asyncio.run(table(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
