"""Continuous batching: which sequences take part in the next step, and what comes of it."""

import sys
import time
import traceback
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import PAGE, Model, Row
from .errors import RefusedError
from .generation import Generation, Piece
from .metrics import Metrics
from .slots import Slots

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK = 256
"""Prompt tokens in a step where no answer is under way: a cancelled prompt ends after one step."""

SHARED_CHUNK = 128
"""Prompt tokens in a step that makes others' next tokens too: the longest pause in their texts."""

MOST_FAILURES = 3
"""Steps in a row that may fail: after that nothing will work any more, and the engine ends."""

QUEUE = 64
"""Requests that wait for a slot at most, by default."""


class Scheduler:
    """Runs the model's steps.

    `step` is the whole of it. Its parts are for a caller who computes in another thread, or hands
    out one step's text while the next is computed: `plan`, `compute`, `take`, `flush`.
    """

    def __init__(
        self, model: Model, metrics: Metrics, *, chunk: int = CHUNK, max_queue: int = QUEUE
    ) -> None:
        """Take the most prompt tokens of a step, and how many requests may wait for a slot."""
        self.slots = Slots(model)
        self._model = model
        self._metrics = metrics
        self._page = model.page
        self._chunk = max(chunk, model.page)
        self._max_queue = max_queue
        self._queue: deque[Generation] = deque()
        self._running: list[Generation] = []
        self._batch: list[tuple[Generation, int]] = []
        self._pieces: list[tuple[Generation, Piece]] = []
        self._failures = 0

    @property
    def busy(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self._running or self._queue or self._pieces)

    def admit(self, coming: int = 0) -> None:
        """Raise RefusedError if the queue is full, or will be with `coming` more requests."""
        free = len(self.slots.all) - len(self._running)
        if len(self._queue) + coming >= self._max_queue + free:
            raise RefusedError(429, "Server is at capacity: its queue is full. Retry later.")

    def submit(self, generation: Generation) -> None:
        """Queue an answer; raises RefusedError if the queue is full."""
        self.admit()
        self._queue.append(generation)
        self._metrics.counters["num_input_tokens"] += generation.request.prompt.size

    def cancel(self, generation: Generation) -> None:
        """End an answer: nothing more goes to its sink, and its slot is free for the next step."""
        if generation.over:
            return
        if generation in self._queue:
            self._queue.remove(generation)
        self._end(generation)

    def step(self) -> None:
        """Run one step, if there is anything to do, and hand out what it made.

        Raises what the model raised once it has failed several times in a row.
        """
        rows = self.plan()
        if rows:
            self.take(self.compute(rows))
        self.flush()

    def plan(self) -> list[Row]:
        """Let waiting requests in, and return the rows of the next step; empty if there are none.

        Long prompts are read in chunks, the first come first, so that others' texts flow on.
        """
        while self._queue and len(self._running) < len(self.slots.all):
            self._begin(self._queue.popleft())
        rows: list[Row] = []
        self._batch = []
        shared = any(one.made for one in self._running)
        room = min(self._chunk, SHARED_CHUNK) if shared else self._chunk
        for generation in self._running:
            slot = generation.slot
            assert slot is not None
            held, count = slot.held, slot.length - slot.held
            if held < generation.request.prompt.size:
                if count > room:
                    count = max(0, room - (held + room) % self._page)
                room -= count
                if not count:
                    continue
            rows.append(Row(slot.index, held, slot.history[held : held + count]))
            self._batch.append((generation, count))
        return rows

    def compute(self, rows: Sequence[Row]) -> "NDArray[np.float32] | Exception":
        """Return the rows' logits, or what the model raised; may run in any thread."""
        began = time.perf_counter()
        try:
            return self._model.forward(rows)
        except Exception as error:  # noqa: BLE001  whatever it is, the others' requests go on
            return error
        finally:
            self._seconds = time.perf_counter() - began

    def take(self, logits: "NDArray[np.float32] | Exception") -> None:
        """Choose the tokens of the step that was planned last.

        Raises an exception in place of logits once it is one too many in a row.
        """
        batch, self._batch = self._batch, []
        if isinstance(logits, Exception):
            self._failed(logits, batch)
            return
        self._failures = 0
        read = made = 0
        for row, (generation, count) in enumerate(batch):
            slot = generation.slot
            if generation.over or slot is None:
                continue
            prompt = generation.request.prompt.size
            read += min(count, max(0, prompt - slot.held))
            slot.held += count
            if slot.held < slot.length:
                continue
            before = generation.made
            try:
                piece = generation.advance(logits[row])
            except ValueError as error:
                self._end(generation)
                generation.sink.fail(500, f"No next token can be chosen: {error}.")
                continue
            made += generation.made - before
            self._pieces.append((generation, piece))
            if piece.reason is not None:
                self._end(generation)
        self._metrics.step(rows=len(batch), prompt=read, output=made, seconds=self._seconds)

    def flush(self) -> None:
        """Hand out the pieces of the last step."""
        pieces, self._pieces = self._pieces, []
        now = time.monotonic()
        for generation, piece in pieces:
            first = generation.spoke == generation.arrived
            times = self._metrics.first if first else self._metrics.gap
            times.observe(1e3 * (now - generation.spoke))
            generation.spoke = now
            generation.sink.piece(generation, piece)

    def measure(self) -> None:
        """Bring the gauges up to date."""
        gauges, slots = self._metrics.gauges, self.slots.all
        gauges["num_requests_running"] = len(self._running)
        gauges["num_requests_queued"] = len(self._queue)
        gauges["cache_num_used_blocks"] = sum(-(-slot.held // PAGE) for slot in slots)
        gauges["cache_num_total_blocks"] = sum(-(-slot.history.size // PAGE) for slot in slots)

    def _begin(self, generation: Generation) -> None:
        try:
            slot = self.slots.take(generation.request.prompt)
        except Exception as error:  # noqa: BLE001  as with a step
            traceback.print_exception(error, file=sys.stderr)
            generation.over = True
            generation.sink.fail(500, f"The cache could not be copied: {error!r}.")
            return
        generation.begin(slot)
        self._running.append(generation)
        counters = self._metrics.counters
        counters["cache_hits_tokens"] += generation.cached
        counters["cache_misses_tokens"] += generation.request.prompt.size - generation.cached

    def _end(self, generation: Generation, *, lost: bool = False) -> None:
        generation.over = True
        self._metrics.counters["num_output_tokens"] += generation.made
        if generation.slot is not None:
            self._running.remove(generation)
            self.slots.release(generation.slot, lost=lost)

    def _failed(self, error: Exception, batch: list[tuple[Generation, int]]) -> None:
        """Fail the sequences of a step; those that took no part in it go on."""
        traceback.print_exception(error, file=sys.stderr)
        for generation, _ in batch:
            if not generation.over:
                self._end(generation, lost=True)
                generation.sink.fail(500, f"The model failed in a step: {error!r}.")
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            raise error
