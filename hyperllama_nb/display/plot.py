"""The tokens per second of one generation, live and then as a figure that a file can keep."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hyperllama_nb.display import charts
from hyperllama_nb.display.sinks import Sink, display_bundle, in_kernel, new_display_id

INTERVAL = 0.25
"""Seconds between two updates of the live figure; each sends both arrays whole."""

WINDOW = 1.0
"""Seconds over which a rate is averaged."""

LIMIT = 600
"""Points of the figure; beyond it every second one is dropped."""

BELOW = "seconds since the first token"

_HEIGHT = 240


class Rate:
    """The rate of events over a sliding window, sampled into a bounded series.

    `seconds` counts from the first event, `rates` is events per second. The first event ends no
    interval and so counts in no rate.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._recent: deque[float] = deque()
        self._begun: float | None = None
        self._step, self._skipped = 1, 0
        self.count = 0
        self.seconds: list[float] = []
        self.rates: list[float] = []

    def event(self) -> None:
        """Count an event now."""
        self.count += 1
        if self._begun is None:
            self._begun = self._clock()
        else:
            self._recent.append(self._clock())

    def sample(self) -> None:
        """Add a point for this moment; a series that is full takes fewer of them."""
        if self._begun is None:
            return
        now = self._clock()
        while self._recent and now - self._recent[0] > WINDOW:
            self._recent.popleft()
        self._skipped += 1
        span = min(WINDOW, now - self._begun)
        if self._skipped < self._step or span <= 0:
            return
        self._skipped = 0
        self.seconds.append(round(now - self._begun, 3))
        self.rates.append(round(len(self._recent) / span, 2))
        if len(self.seconds) > LIMIT:
            self.seconds, self.rates = self.seconds[::2], self.rates[::2]
            self._step *= 2


class ThroughputPlot:
    """A sink that shows the rate of an answer under the answer.

    Until the end it counts pieces of text, which are mostly tokens; the final figure is scaled to
    the engine's own count. Without the libraries of the live figure only the final one is shown,
    and a terminal gets one line of text.
    """

    def __init__(
        self,
        inner: Sink,
        model: str,
        *,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner, self._model, self._clock = inner, model, clock
        self._notebook = in_kernel() if live is None else live
        self._rate = Rate(clock)
        self._sampled: float | None = None
        self._id = ""
        self._figure: Any = None
        if self._notebook:
            self._prepare()

    def status(self, line: str) -> None:
        """Show what is being waited for."""
        self._inner.status(line)

    def text(self, delta: str) -> None:
        """Append text to the answer, and count it."""
        self._inner.text(delta)
        self._rate.event()
        if self._sampled is None:
            self._sampled = self._clock()
            if self._notebook:
                self._open()

    def due(self) -> float | None:
        """Return the seconds until the answer or the figure wants an update."""
        inner = self._inner.due()
        if self._sampled is None:
            return inner
        own = max(0.0, self._sampled + INTERVAL - self._clock())
        return own if inner is None else min(inner, own)

    def flush(self) -> None:
        """Update what is due."""
        if self._inner.due() == 0.0:
            self._inner.flush()
        if self._sampled is not None and self._clock() >= self._sampled + INTERVAL:
            self._sampled = self._clock()
            self._rate.sample()
            self._draw()

    def finish(self, footer: str = "", metadata: Mapping[str, Any] | None = None) -> None:
        """End the answer, and put a figure that can be saved in the place of the live one."""
        self._rate.sample()
        scale = 1.0
        tokens = ((metadata or {}).get("usage") or {}).get("output_tokens")
        if tokens and self._rate.count:
            scale = tokens / self._rate.count
        rates = [round(rate * scale, 2) for rate in self._rate.rates]
        summary = summarise(self._model, self._rate.seconds, rates) if self._rate.count else ""
        if not self._notebook:
            self._inner.finish("\n".join(filter(None, (footer, summary))), metadata)
            return
        self._inner.finish(footer, metadata)
        if summary:
            self._close(static_bundle(self._model, self._rate.seconds, rates, summary))

    def _prepare(self) -> None:
        """Make the live figure before the answer begins: its libraries take a second to import."""
        self._inner.status("Preparing the plot")
        shape = figure(self._model, [], [])
        try:
            import plotly.graph_objects as go

            self._figure = go.FigureWidget(data=shape["data"], layout=shape["layout"])
        except ImportError:
            # no widget libraries: the final figure needs none
            self._figure = None

    def _open(self) -> None:
        """Put the live figure under the answer."""
        if self._figure is None:
            return
        from IPython.display import display

        show: Callable[..., object] = display
        bundle = self._figure._repr_mimebundle_()
        self._id = new_display_id()
        shown = bundle[0] if isinstance(bundle, tuple) else bundle
        show(shown, raw=True, display_id=self._id)

    def _draw(self) -> None:
        if self._figure is not None:
            with self._figure.batch_update():
                self._figure.data[0].x = self._rate.seconds
                self._figure.data[0].y = self._rate.rates

    def _close(self, bundle: dict[str, Any]) -> None:
        display_bundle(bundle, {}, self._id or new_display_id(), bool(self._id))
        if self._figure is not None:
            self._figure.close()
            self._figure = None


def figure(model: str, seconds: Sequence[float], rates: Sequence[float]) -> dict[str, Any]:
    """Return the figure as plotly's JSON."""
    return charts.figure([_panel(model, rates)], seconds, below=BELOW, height=_HEIGHT)


def static_bundle(
    model: str, seconds: Sequence[float], rates: Sequence[float], summary: str
) -> dict[str, Any]:
    """Return the figure in the forms that notebooks, exports and text readers show."""
    return {
        "application/vnd.plotly.v1+json": figure(model, seconds, rates),
        "image/svg+xml": svg(seconds, rates, summary),
        "text/plain": summary,
    }


def summarise(model: str, seconds: Sequence[float], rates: Sequence[float]) -> str:
    """Return the figure in a sentence."""
    if not rates:
        return f"{model}: too short to plot"
    middle = sorted(rates)[len(rates) // 2]
    return (
        f"{model}: median {middle:.1f} tokens/s over {seconds[-1]:.1f} s "
        f"(lowest {min(rates):.1f}, highest {max(rates):.1f})"
    )


def svg(seconds: Sequence[float], rates: Sequence[float], title: str) -> str:
    """Return a line chart in the colour of the text around it."""
    last = seconds[-1] if seconds else 1.0
    return charts.svg([_panel("", rates)], seconds, title, ends=("0 s", f"{last:.1f} s"))


def _panel(model: str, rates: Sequence[float]) -> charts.Panel:
    title = f"{model}: tokens per second" if model else "tokens/s"
    return charts.Panel(title, [charts.Series("tokens/s", rates)])
