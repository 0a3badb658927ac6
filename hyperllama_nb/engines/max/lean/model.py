"""A Llama model in this process: its compiled graph, and the KV caches of its slots."""

import mmap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from max.driver import CPU, Buffer
from max.engine import CompiledModel, InferenceSession, Model
from numpy.typing import NDArray

from .base import PAGE, Row
from .config import Config, read_config
from .graph import build, cache_layout
from .rotations import rotations
from .weights import Checkpoint, read_checkpoint

Report = Callable[[str], None]

_TAIL = 16
"""Entries that the attention kernel may read beyond a slot's pages."""

_ALIGNED = 8
"""The entries of a slot's row in the page table are a multiple of this."""


class _Inputs(NamedTuple):
    """The graph's inputs for a number of rows; the arrays are written, the buffers see it."""

    tokens: NDArray[np.int64]
    lengths: NDArray[np.uint32]
    pages: NDArray[np.uint32]
    limits: tuple[NDArray[np.uint32], NDArray[np.uint32]]
    shape: NDArray[np.int64]
    buffers: tuple[Buffer, ...]


def warm(directory: Path, report: Report) -> None:
    """Compile a model's graph, so that the next load finds it; raises UnfitError."""
    _compile(directory, report)


def _compile(
    directory: Path, report: Report, *, own: bool = True
) -> tuple[Config, Checkpoint, InferenceSession, CompiledModel]:
    config = read_config(directory)
    report("Reading the weights")
    checkpoint = read_checkpoint(directory, config)
    session = InferenceSession([CPU()])

    def compiled(*, own: bool) -> CompiledModel:
        report("Building the graph")
        graph = build(config, checkpoint, own=own)
        report("Compiling the graph")
        return session.compile(graph)

    if own and checkpoint.encoding == "float32":
        try:
            return config, checkpoint, session, compiled(own=True)
        except Exception as error:  # noqa: BLE001  # whatever another release of MAX raises for it
            told = str(error).strip().partition("\n")[0]
            report(f"Our product of float32 does not compile, so MAX's own is used: {told}")
    return config, checkpoint, session, compiled(own=False)


class LlamaModel:
    """A loaded model; see `base.Model`."""

    def __init__(
        self,
        directory: Path,
        *,
        context: int,
        slots: int,
        report: Report = lambda _: None,
        own: bool = True,
    ) -> None:
        """Load the model from its directory; `report` hears what is being done.

        Without `own`, MAX's products are used, also where ours are faster.
        Raises UnfitError for a model that the graph does not compute.
        """
        config, checkpoint, session, compiled = _compile(directory, report, own=own)
        report("Binding the weights")
        # The arrays stay alive with this object: the compiled model reads some of them in place.
        self._checkpoint = checkpoint
        self._model: Model = session.init(compiled, weights_registry=checkpoint.arrays)
        self.vocab, self.context, self.slots = config.vocab, context, slots
        # The attention kernel works in blocks of so many positions: parts that end elsewhere were
        # seen to change the logits by up to 0.6, parts that end there by nothing at all.
        self.page = PAGE
        self._rotations = Buffer.from_numpy(rotations(config, context))
        layout = cache_layout(config)
        self._per_slot = -(-context // PAGE)
        pool = _zeros((slots * self._per_slot, *layout.shape_per_block))
        self._pages = pool.reshape(slots, self._per_slot, *layout.shape_per_block)
        # One pool for the whole life: one made shortly before a step has been seen to race with it.
        self._pool = Buffer.from_numpy(pool)
        self._stride = Buffer.from_numpy(np.array([pool[0].size], np.int64))
        columns = -(-self._per_slot // _ALIGNED) * _ALIGNED + _TAIL
        self._table = np.zeros((slots, columns), np.uint32)
        self._table[:, : self._per_slot] = np.arange(len(pool)).reshape(slots, -1)
        self._prepared: dict[int, _Inputs] = {}

    def forward(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Compute the rows; returns float32 [len(rows), vocab], valid until the next call."""
        sizes = [len(row.tokens) for row in rows]
        count, longest = len(rows), max(sizes)
        inputs = self._prepared.get(count) if longest == 1 else None
        if inputs is None:
            inputs = self._inputs(sizes)
            if longest == 1:
                self._prepared[count] = inputs
        if longest == 1:
            inputs.tokens[:] = [row.tokens[0] for row in rows]
        else:
            np.concatenate([row.tokens for row in rows], out=inputs.tokens, casting="unsafe")
        inputs.lengths[:] = [row.start for row in rows]
        inputs.pages[:] = self._table[[row.slot for row in rows]]
        reach = max(row.start + size for row, size in zip(rows, sizes, strict=True))
        inputs.limits[0][0], inputs.limits[1][0] = longest, reach
        inputs.shape[:] = (count, longest, 1, reach)
        logits: NDArray[np.float32] = self._model.execute(*inputs.buffers)[0].to_numpy()
        return logits

    def _inputs(self, sizes: Sequence[int]) -> _Inputs:
        count = len(sizes)
        tokens = np.zeros(sum(sizes), np.int64)
        offsets = np.zeros(count + 1, np.uint32)
        np.cumsum(sizes, out=offsets[1:])
        lengths = np.zeros(count, np.uint32)
        pages = np.zeros((count, self._table.shape[1]), np.uint32)
        limits = np.zeros(1, np.uint32), np.zeros(1, np.uint32)
        shape = np.zeros(4, np.int64)
        arrays: tuple[NDArray[Any], ...] = (tokens, offsets, lengths, pages, *limits, shape)
        held = [Buffer.from_numpy(array) for array in arrays]
        buffers = (held[0], held[1], self._rotations, self._pool, *held[2:6], self._stride, held[6])
        return _Inputs(tokens, lengths, pages, limits, shape, buffers)

    def copy(self, source: int, target: int, tokens: int) -> None:
        """Copy the first `tokens` of a slot's cache, in whole pages, into another slot's."""
        count = -(-tokens // PAGE)
        self._pages[target, :count] = self._pages[source, :count]


def _zeros(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return zeroed memory that the system gives page by page as it is first written."""
    size = int(np.prod(shape))
    return np.frombuffer(mmap.mmap(-1, size * 4), np.float32).reshape(shape)
