"""The figure of a monitor: its panels, live and as what a saved notebook keeps."""

from collections.abc import Sequence
from html import escape
from typing import Any

from hyperllama_nb.display import charts
from hyperllama_nb.display.charts import Panel, Series
from hyperllama_nb.widgets import _words
from hyperllama_nb.widgets._samples import Numbers, Samples

KEPT = 120
"""Points of a trace in a saved notebook: each is written in digits."""

_COLUMNS = 2
_LIVE = "seconds before now"
_KEPT = "seconds before the end"


def panels(numbers: Numbers) -> list[Panel]:
    """Return the panels; a GPU has lines in them only where there is one."""

    def line(name: str, column: str, unit: float = 1) -> Series:
        values = numbers[column]
        return Series(name, values if unit == 1 else _scaled(values, unit))

    requests = [line("running", "running"), line("queued", "queued"), line("batch", "batch")]
    busy = [line("machine", "cpu"), line("engines", "engine_cpu")]
    memory = [line("machine", "memory", 1e9), line("engines", "engine_memory", 1e9)]
    gpu, power = _known(numbers["gpu_memory"]), _known(numbers["gpu_power"])
    if gpu:
        busy.append(line("GPU", "gpu"))
        memory.append(line("GPU", "gpu_memory", 1e9))
    found = [
        Panel("Decode, tokens/s", [line("decode", "decode")]),
        Panel("Prompt, tokens/s", [line("prompt", "prompt")]),
        Panel("Requests", requests),
        Panel("KV cache in use, %", [line("KV cache", "cache")], top=100),
        Panel("CPU and GPU, %" if gpu else "CPU, %", busy, top=100),
        Panel("Memory, GB", memory),
    ]
    return [*found, Panel("GPU power, W", [line("power", "gpu_power")])] if power else found


def live(samples: Samples, window: int) -> dict[str, Any]:
    """Return the figure of a window, up to now, as plotly's JSON."""
    ages, numbers = samples.trace(window)
    span = (-float(window), 0.0)
    return charts.figure(panels(numbers), ages, below=_LIVE, columns=_COLUMNS, span=span)


def static_bundle(samples: Samples, window: int, model: str | None) -> dict[str, Any]:
    """Return the figure in the forms that notebooks, exports and text readers show.

    A full window of 600 points takes under 100 kB.
    """
    ages, numbers = samples.trace(window, KEPT)
    name, text = _words.title(samples, window, model), _words.summary(samples, window, model)
    if not ages:
        return {"text/plain": text}
    # A monitor that saw less than its window fills the figure with what it saw.
    length = max(1.0, -ages[0])
    shown = panels(numbers)
    kept = charts.figure(shown, ages, below=_KEPT, columns=_COLUMNS, span=(-length, 0.0))
    kept["layout"]["title"] = {"text": escape(name), "font": {"size": 14}}
    kept["layout"]["margin"]["t"] += 30
    kept["layout"]["height"] += 30
    ends = (f"-{length:.0f} s", "0 s")
    picture = charts.svg(shown, ages, text, ends=ends, columns=_COLUMNS, size=(400, 150))
    return {
        "application/vnd.plotly.v1+json": kept,
        "image/svg+xml": picture,
        "text/plain": text,
    }


def _scaled(values: Sequence[float | None], unit: float) -> list[float | None]:
    return [None if value is None else charts.short(value / unit) for value in values]


def _known(values: Sequence[float | None]) -> bool:
    return any(value is not None for value in values)
