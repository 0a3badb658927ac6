"""Monitor: what the service does for all its clients, live, and a figure when it ends."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hyperllama_nb.client import Client
from hyperllama_nb.display.sinks import in_kernel
from hyperllama_nb.errors import HyperLlamaError, RequestError, ServiceError
from hyperllama_nb.widgets import _figure, _words
from hyperllama_nb.widgets._polling import FASTEST, Polling
from hyperllama_nb.widgets._samples import WINDOWS, Point, Samples
from hyperllama_nb.widgets._shown import Cells, Shown

if TYPE_CHECKING:
    from hyperllama_nb.widgets._live import Live

ANSWER = 3.0
"""Seconds that the service gets to answer."""

FIRST = 3.0
"""Seconds that the first look at a monitor waits for its first numbers."""

_cells = Cells()


class Monitor:
    """Shows throughput, waiting times, queues, caches and the machine's load, of all clients.

    `model` narrows the engines' numbers to one model. `window` is the seconds that the figure
    shows (up to 900), `interval` those between two samples (0.2 at least), `duration` those after
    which it ends by itself. Display it, or use it with `with`:

    >>> with Monitor(window=120) as monitor:  # doctest: +SKIP
    ...     work()
    >>> pandas.DataFrame(monitor.samples)  # doctest: +SKIP

    `stop` puts a figure that the notebook can keep in the place of the live one. The monitor never
    starts the service, waits for one that has ended to come back, and wakes no sleeping engine.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        window: float = 60,
        interval: float = 0.5,
        duration: float | None = None,
    ) -> None:
        if not 0 < window <= WINDOWS[-1]:
            raise RequestError(
                f"A window of {window} s cannot be shown. Choose up to {WINDOWS[-1]} s."
            )
        self.model, self.window, self.duration = model, round(window) or 1, duration
        self.interval = max(FASTEST, interval)
        self._client = Client(start=False, timeout=ANSWER)
        self._samples = Samples(self.interval)
        self._polling: Polling | None = None
        self._shown = Shown(self._static, self._widgets)
        self._trouble = ""
        self._ended = False

    @property
    def samples(self) -> list[Point]:
        """Return what was seen in the last 15 minutes, a dict for each sample.

        `time` is Unix seconds, `state` a word; `decode` and `prompt` are tokens per second over the
        last second, `first_token` is seconds, `cache`, `cpu`, `engine_cpu` and `gpu` are percent,
        `memory`, `engine_memory` and `gpu_memory` bytes, `gpu_power` watts; `running`, `queued` and
        `batch` are counts. None is unknown.
        """
        return self._samples.rows()

    @property
    def running(self) -> bool:
        """Tell whether it watches; a monitor that rests does too."""
        return self._polling is not None

    @property
    def paused(self) -> bool:
        """Tell whether it rests."""
        return self._polling is not None and self._polling.paused

    def start(self) -> Self:
        """Begin to watch, in a thread of its own; a stopped monitor goes on, to be shown again."""
        if self._polling is None:
            if len(self._samples):
                self._samples.gap(time.time(), "paused")
            self._ended = False
            self._polling = Polling(
                self._ask,
                interval=self.interval,
                duration=self.duration,
                took=self._took,
                missed=self._missed,
                ended=self.stop,
            )
            self._polling.start()
        return self

    def pause(self) -> None:
        """Rest until `resume`: nothing is asked, and the figure stands still."""
        if self._polling is not None and not self._polling.paused:
            self._polling.pause()
            self._samples.gap(time.time(), "paused")
            self._shown.pause(on=True)
            self._update(now=True)

    def resume(self) -> None:
        """Go on after `pause`."""
        if self._polling is not None:
            self._polling.resume()
            self._shown.pause(on=False)

    def stop(self) -> None:
        """End the thread, and put the figure of the last window in the place of the live one."""
        polling, self._polling = self._polling, None
        if polling is None:
            return
        polling.stop()
        self._ended = True
        self._shown.end()
        self._client.close()

    def close(self) -> None:
        """Do what `stop` does."""
        self.stop()

    def summary(self) -> str:
        """Return the last, mean and highest numbers of the window as a table in text."""
        text: str = self._static()["text/plain"]
        return text

    def __enter__(self) -> Self:
        """Display it in a notebook, and begin to watch."""
        self.start()
        if in_kernel():
            self._ipython_display_()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        """Return what it watches and how it stands, in one line."""
        state = "paused" if self.paused else "running" if self.running else "stopped"
        return f"<Monitor of {self.model or 'all models'}, {state}, {len(self._samples)} samples>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return self._static()

    def _ipython_display_(self) -> None:
        if self._ended:
            self._shown.keep()
            return
        self.start()
        if self._polling is not None:
            # so that it begins with numbers, and with panels for what the machine has
            self._polling.wait(1 if in_kernel() else 3, FIRST)
        _cells.take(self)
        self._shown.open()
        self._update(now=True)

    def _widgets(self) -> "Live":
        from hyperllama_nb.widgets._live import Live

        return Live(
            self._samples,
            self.window,
            label=f"Monitor of {self.model or 'all models'}",
            paused=lambda on: self.pause() if on else self.resume(),
            chosen=self._choose,
            stop=self.stop,
        )

    def _static(self) -> dict[str, Any]:
        return _figure.static_bundle(self._samples, self.window, self.model)

    def _choose(self, window: int) -> None:
        self.window = window
        self._update(now=True)

    def _ask(self) -> Mapping[str, Any]:
        return self._client.samples(self.model)

    def _took(self, snapshot: Mapping[str, Any]) -> None:
        self._trouble = ""
        self._samples.add(snapshot, time.time())
        self._update()

    def _missed(self, error: HyperLlamaError) -> None:
        gone = isinstance(error, ServiceError)
        self._trouble = "" if gone else str(error)
        self._samples.gap(time.time(), "not running" if gone else "unknown")
        self._update()

    def _update(self, *, now: bool = False) -> None:
        text = self._trouble or _words.line(self._samples, self.window)
        self._shown.update(text, self.window, now=now)
