"""Measuring how fast a model answers."""

from hyperllama_nb.bench.metrics import Run, Statistic, statistic
from hyperllama_nb.bench.repeat import measure, repeat

__all__ = ["Run", "Statistic", "measure", "repeat", "statistic"]
