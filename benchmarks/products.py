"""Where a step of the lean engine goes in float32: its matrix products, one kind after the other.

usage: products.py [--model NAME] [--rounds N]

A step reads each weight once, whatever the number of sequences, so reading them at the memory's
speed is the bound. Each row of the table is one kind of product, of all layers in one graph, so
that no cache keeps the weights: by MAX's kernel and by ours. The last rows are the model's whole
step with either. Everything takes turns in each round; figures are medians with the range.
"""

import argparse
import random
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cpu import bandwidth
from max.driver import CPU, Buffer
from max.dtype import DType
from max.engine import InferenceSession, Model
from max.graph import DeviceRef, Graph, TensorType, TensorValue, Weight, ops
from numpy.typing import NDArray
from tuning import told

from hyperllama_nb.engines.max.lean.base import Row
from hyperllama_nb.engines.max.lean.config import read_config
from hyperllama_nb.engines.max.lean.graph import own_product, plain_product
from hyperllama_nb.engines.max.lean.library import library
from hyperllama_nb.engines.max.lean.model import LlamaModel
from hyperllama_nb.engines.max.lean.weights import read_checkpoint
from hyperllama_nb.models import Store

KINDS = ("qkv", "output", "gate_up", "down", "head")
ROWS = (1, 4, 8, 64, 256)
PRODUCTS = {"MAX": plain_product, "ours": own_product}
REPEATS, POSITION, CONTEXT = 8, 32, 2048

_CPU = DeviceRef.CPU()


def graph_of(session: InferenceSession, arrays: Sequence[NDArray[np.float32]], whose: str) -> Model:
    """Return a model of [rows, inputs] times each matrix, each result summed to a number a row."""
    given = TensorType(DType.float32, ["rows", arrays[0].shape[1]], _CPU)
    with Graph("products", input_types=[given], custom_extensions=[library()]) as graph:
        x = graph.inputs[0].tensor
        sums = None
        for number, array in enumerate(arrays):
            weight = TensorValue(Weight(f"{number}", DType.float32, array.shape, device=_CPU))
            found = ops.sum(PRODUCTS[whose](x, weight), axis=-1)
            sums = found if sums is None else sums + found
        graph.output(sums)
    return session.load(graph, weights_registry={f"{n}": one for n, one in enumerate(arrays)})


def timed(work: Callable[[], Any]) -> float:
    """Return the milliseconds that a call takes, the median of a few."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)


def works(directory: Path) -> tuple[dict[tuple[str, str, int], Callable[[], Any]], dict[str, int]]:
    """Return what to time by kind, kernel and rows, and the bytes of each kind's weights."""
    config, session = read_config(directory), InferenceSession([CPU()])
    checkpoint = read_checkpoint(directory, config)
    found: dict[tuple[str, str, int], Callable[[], Any]] = {}
    sizes = {}
    for kind in KINDS:
        names = [kind] if kind == "head" else [f"{n}.{kind}" for n in range(config.layers)]
        arrays = [checkpoint.arrays[name] for name in names]
        sizes[kind] = sum(array.nbytes for array in arrays)
        for whose in PRODUCTS:
            model = graph_of(session, arrays, whose)
            for rows in ROWS:
                x = Buffer.from_numpy(np.ones((rows, arrays[0].shape[1]), np.float32))
                found[kind, whose, rows] = lambda model=model, x=x: model.execute(x)
        print(f"compiled: {kind}", file=sys.stderr, flush=True)
    for whose in PRODUCTS:
        whole = LlamaModel(directory, context=CONTEXT, slots=max(ROWS), own=whose == "ours")
        for rows in ROWS:
            step = [Row(slot, POSITION, [1000 + slot]) for slot in range(rows)]
            found["whole step", whose, rows] = lambda whole=whole, step=step: whole.forward(step)
    return found, sizes


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="smollm2:135m")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    store = Store()
    found, sizes = works(store.view(store.get(args.model)))
    read = bandwidth()
    times = defaultdict(list)
    for _ in range(args.rounds):
        for key in random.sample(list(found), len(found)):
            times[key].append(timed(found[key]))
    read = max(read, bandwidth())
    print(f"memory is read at {read / 1e9:.0f} GB/s\n")
    columns = ["ms", "MB", "to read them", *(f"{rows} row{'s' * (rows > 1)}" for rows in ROWS)]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    sizes["whole step"] = sum(sizes.values())
    for kind, whose in dict.fromkeys(key[:2] for key in found):
        size = sizes[kind]
        cells = [f"{size / 1e6:.0f}", f"{1e3 * size / read:.1f}"]
        cells += [told(times[kind, whose, rows]) for rows in ROWS]
        print(f"| {kind}, {whose} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
