"""Driving the load generator from a kernel or a command, which it neither disturbs nor outlives."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Generator as Generation
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from hyperllama_nb.bench.generator import CONNECTIONS, PATIENCE
from hyperllama_nb.bench.records import Cell, Load, Request, Target
from hyperllama_nb.bench.way import HEADERS
from hyperllama_nb.errors import HyperLlamaError, from_wire

GRACE = 5.0
"""Seconds in which a generator that was told to stop must do so before it is killed."""


class Stopped(Exception):  # noqa: N818 - it is an outcome, not an error
    """Somebody asked for the end of a turn, and with it of the run."""


class Generator:
    """The load generator's process; one for a whole run, since its records share its clock.

    >>> with Generator() as drive:
    ...     requests = drive(target, cell, load, block=0)  # doctest: +SKIP

    Interrupting a turn ends it: what was cut off is `incomplete` in `cut`, and the process is
    ready for the next turn. It has a session of its own, so that Ctrl-C reaches the caller only.
    """

    def __init__(
        self,
        *,
        connections: int = CONNECTIONS,
        patience: float = PATIENCE,
        headers: Mapping[str, str] | None = None,
        since: float = 0.0,
    ) -> None:
        """Start the process; `patience` is the seconds that one answer may take.

        `headers` go to the service's own engines only, `since` is what its clock shows at first:
        the seconds since the run began, for a process that goes on with one.
        """
        self._limits = {"connections": connections, "patience": patience}
        self._patience = patience
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.cut: list[Request] = []
        self._process = subprocess.Popen(
            (sys.executable, "-P", "-m", "hyperllama_nb.bench.generator", str(since)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # The environment of a process is its user's to read; its arguments are everybody's.
            env={**os.environ, HEADERS: json.dumps(dict(headers or {}))},
            start_new_session=True,
        )
        threading.Thread(target=self._listen, name="bench-records", daemon=True).start()

    def __call__(self, target: Target, cell: Cell, load: Load, block: int) -> list[Request]:
        """Send a load's prompts to a target and return a record a request, warm-ups included.

        Raises what `records` raises.
        """
        return list(self.records(target, cell, load, block))

    def records(
        self, target: Target, cell: Cell, load: Load, block: int
    ) -> Generation[Request, None, None]:
        """Yield the record of each request when it is over.

        Leaving the iterator early, or interrupting it, ends the turn; the requests that this cut
        off are in `cut`. Raises Stopped after `stop`, RequestError for a plan that cannot be run,
        and HyperLlamaError if the process ends or hangs.
        """
        self._send(
            {
                "target": target.plain(),
                "cell": cell.plain(),
                "load": load.plain(),
                "block": block,
                **self._limits,
            }
        )
        # Nothing at all may happen for as long as one answer takes, or until the next one is due.
        silence = self._patience + cell.requests / (cell.rate or cell.requests) + GRACE
        over = False
        try:
            while (line := self._next(silence)) is not None:
                if "stop" in line:
                    raise Stopped
                if "end" in line:
                    over = True
                    if line["end"] is not None:
                        raise from_wire(line["end"]["code"], line["end"]["message"])
                    return
                yield Request.from_plain(line["request"])
            over = True
            raise _ended()
        finally:
            if not over:
                self._cancel()

    def stop(self) -> None:
        """Let the turn that runs, or the next one, end with Stopped; from any thread."""
        self._lines.put({"stop": True})

    def close(self) -> None:
        """End the process, by force if it does not heed the end of its input."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        """Return the generator."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        self.close()

    def _cancel(self) -> None:
        """End the turn; kill the process if it does not end it in time."""
        with contextlib.suppress(HyperLlamaError):
            self._send({"cancel": True})
            while (line := self._next(GRACE)) is not None and "end" not in line:
                if "request" in line:
                    self.cut.append(Request.from_plain(line["request"]))

    def _send(self, value: dict[str, Any]) -> None:
        stream = self._process.stdin
        try:
            if stream is None or stream.closed:
                raise BrokenPipeError
            stream.write(json.dumps(value).encode() + b"\n")
            stream.flush()
        except OSError:
            raise _ended() from None

    def _next(self, patience: float) -> dict[str, Any] | None:
        try:
            return self._lines.get(timeout=patience)
        except queue.Empty:
            self._process.kill()
            raise HyperLlamaError(
                f"The load generator said nothing for {patience:.0f} s and was ended. "
                "Run the measurement again; with fewer requests at a time if it happens again."
            ) from None

    def _listen(self) -> None:
        stream = self._process.stdout
        if stream is not None:
            with contextlib.suppress(ValueError), stream:
                for line in stream:
                    self._lines.put(json.loads(line))
        self._lines.put(None)


def _ended() -> HyperLlamaError:
    return HyperLlamaError(
        "The load generator's process has ended: what it said is above, on standard error. "
        "Run the measurement again."
    )
