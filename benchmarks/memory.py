"""What engines were expected to take of the memory, and what they take.

Run it on any machine: `python benchmarks/memory.py [MODEL …] [--contexts 4096] [--batches 1 4 8]`.
Each engine is measured after it has answered as many long prompts at a time as its batch holds, as
the proportional set size of all its processes: pages that are shared count once. A context that the
model has not been compiled for yet takes a minute more on MAX.
"""

import argparse
import asyncio
import itertools
import sys

from alone import Alone, engine_alone, planned

from hyperllama_nb.engines.base import load_backends
from hyperllama_nb.engines.embeddings import embed
from hyperllama_nb.engines.memory import MIB
from hyperllama_nb.errors import HyperLlamaError
from hyperllama_nb.models import Store

PROMPT = 1000
"""The longest prompt, in tokens: more would take long, and no more memory."""

HEAD = (
    "| model | backend | context | batch | weights | cache | engine | expected | measured | off |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


async def use(engine: Alone) -> None:
    """Let the engine do all that it was launched for at a time."""
    length = min(PROMPT, engine.spec.context - 32)
    prompts = [
        [100 + (7 * number + place) % 20_000 for place in range(length)]
        for number in range(engine.spec.batch or 1)
    ]
    if engine.spec.task == "embed":
        await embed(engine.wire, engine.model, prompts)
    else:
        await asyncio.gather(*(engine.answer(ids, 16) for ids in prompts))


async def row(model: str, backend: str, context: int, batch: int) -> str:
    """Return a line of the table, with sizes in MiB; raises HyperLlamaError."""
    chosen, spec = await planned(model, backend, context=context, batch=batch)
    need = chosen.memory(spec)
    async with engine_alone(chosen, spec) as engine:
        await use(engine)
        await asyncio.sleep(2.5)  # a measurement is kept for two seconds
        taken = engine.process.memory()
    off = 100 * (need.total - taken) / taken
    sizes = (need.weights, need.cache, need.engine, need.total, taken)
    told = " | ".join(f"{size / MIB:.0f}" for size in sizes)
    return f"| {model} | {backend} | {spec.context} | {spec.batch} | {told} | {off:+.0f} % |"


async def table(args: argparse.Namespace) -> None:
    """Print the table; a line says why an engine did not run."""
    models = args.models or [manifest.name.display for manifest in Store().list()]
    print(HEAD, flush=True)
    told: set[str] = set()
    for model, backend in itertools.product(models, args.backends or load_backends()):
        for context, batch in itertools.product(args.contexts, args.batches):
            try:
                line = await row(model, backend, context, batch)
            except HyperLlamaError as error:
                line = f"{model} on {backend}: {error}"
            if line not in told:
                print(line, flush=True)
            told.add(line)


def main() -> int:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="all of the store when missing")
    parser.add_argument("--backends", nargs="+", help="all that are installed when missing")
    parser.add_argument("--contexts", nargs="+", type=int, default=[4096])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 8])
    asyncio.run(table(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
