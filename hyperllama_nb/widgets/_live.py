"""The live form of a monitor: a strip with its numbers and controls, and plotly's figure."""

import threading
import time
from collections.abc import Callable
from typing import Any

import anywidget
import ipywidgets
import numpy as np
import plotly.graph_objects as go
from traitlets import Bool, Int, List, Unicode

from hyperllama_nb.widgets import _figure
from hyperllama_nb.widgets._base import css, esm
from hyperllama_nb.widgets._samples import POINTS, WINDOWS, Samples

DRAW = 0.45
"""Seconds between two drawings, at least: each takes the browser some 50 ms of a slow processor."""

TALK = 2.0
"""Seconds between two changes of the numbers in words: a screen reader reads each of them."""


class Strip(anywidget.AnyWidget):
    """The numbers in words, a choice of windows, pause and stop."""

    _esm = esm("monitor.js")
    _css = css("monitor.css")
    label = Unicode().tag(sync=True)
    text = Unicode().tag(sync=True)
    paused = Bool(False).tag(sync=True)
    window = Int().tag(sync=True)
    windows = List(Int()).tag(sync=True)


class Live:
    """The widgets of one monitor; its methods may be called from any thread, also after `close`.

    `paused`, `window` and `stop` are called with what the user does.
    """

    def __init__(
        self,
        samples: Samples,
        window: int,
        label: str,
        *,
        paused: Callable[[bool], None],
        chosen: Callable[[int], None],
        stop: Callable[[], None],
    ) -> None:
        self._samples, self._stop = samples, stop
        self._lock = threading.RLock()
        self._drawn = self._said = 0.0
        self._closed = False
        shape = _figure.live(samples, window)
        self.figure = go.FigureWidget(data=shape["data"], layout=shape["layout"])
        # without it the figure keeps plotly's own width, whatever its place has
        self.figure._config = {"responsive": True}  # noqa: SLF001  there is no public way
        windows = sorted({*WINDOWS, window})
        self.strip = Strip(label=label, window=window, windows=windows)
        self.strip.observe(lambda change: paused(change["new"]), "paused")
        self.strip.observe(lambda change: chosen(change["new"]), "window")
        self.strip.on_msg(self._received)
        self.box = ipywidgets.VBox([self.strip, self.figure])

    def view(self) -> dict[str, Any]:
        """Return the mime bundle that shows the widgets."""
        # plotly takes over what was changed before it is shown, at this call
        self.figure._repr_mimebundle_()
        bundle = self.box._repr_mimebundle_()
        found: dict[str, Any] = bundle[0] if isinstance(bundle, tuple) else bundle
        return found

    def update(self, text: str, window: int, *, now: bool = False) -> None:
        """Draw what is new and say it, each no more often than it can be seen; `now` does both."""
        with self._lock:
            if self._closed:
                return
            clock = time.monotonic()
            # A point of a long window stands for many samples, and changes less often.
            if now or clock >= self._drawn + max(DRAW, 0.9 * window / POINTS):
                self._drawn = clock
                self._draw(window)
            if now or clock >= self._said + TALK:
                self._said = clock
                self.strip.text = text

    def close(self) -> None:
        """End the widgets; the front end shows them no more."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for widget in (self.box, self.strip, self.figure):
                widget.close()

    def _draw(self, window: int) -> None:
        shape = _figure.live(self._samples, window)
        data, layout = shape["data"], shape["layout"]
        with self.figure.batch_update():
            if [trace["name"] for trace in data] != [trace.name for trace in self.figure.data]:
                # a GPU has come or gone
                self.figure.data = ()
                self.figure.add_traces(data)
                self.figure.layout = layout
                return
            xs = np.array(data[0]["x"], dtype=np.float32)
            for trace, new in zip(self.figure.data, data, strict=True):
                trace.x = xs
                trace.y = np.array(new["y"], dtype=np.float32)
            for name, axis in layout.items():
                if name.startswith("xaxis"):
                    self.figure.layout[name].range = axis["range"]

    def _received(self, _widget: object, content: Any, _buffers: object) -> None:
        if isinstance(content, dict) and content.get("type") == "stop":
            self._stop()
