"""What an engine tells of its cache and its batches, out of its Prometheus text."""

from dataclasses import dataclass
from typing import Self

_USED = "maxserve_cache_num_used_blocks"
_TOTAL = "maxserve_cache_num_total_blocks"
_ROWS = "maxserve_batch_size_sum"
_STEPS = "maxserve_batch_size_count"
_MEAN_ROWS = "llamacpp:n_busy_slots_per_decode"
_DECODES = "llamacpp:n_decode_total"


@dataclass(frozen=True, slots=True)
class Gauges:
    """The cache of keys and values, and the batches since the engine's start.

    `cache_used` of `cache_total` pages hold something; `rows` sequences were computed in `steps`
    steps, so that their quotient is the mean size of a batch. None is what an engine does not tell.
    """

    cache_used: float | None = None
    cache_total: float | None = None
    rows: float | None = None
    steps: float | None = None

    @classmethod
    def read(cls, text: str) -> Self:
        """Return what Prometheus's text says, summed over labels such as kind and device."""
        found: dict[str, float] = {}
        for line in text.splitlines():
            name = line.split("{", 1)[0].split(" ", 1)[0]
            if name in _NAMES:
                try:
                    found[name] = found.get(name, 0.0) + float(line.rpartition(" ")[2])
                except ValueError:
                    continue
        rows, steps = found.get(_ROWS), found.get(_STEPS)
        if _DECODES in found and _MEAN_ROWS in found:
            steps = found[_DECODES]
            rows = found[_MEAN_ROWS] * steps
        return cls(found.get(_USED), found.get(_TOTAL) or None, rows, steps)

    def batch_since(self, before: "Gauges") -> float | None:
        """Return the mean number of sequences in a step since another reading; None without one."""
        if None in (self.rows, self.steps):
            return None
        rows, steps = self.rows or 0.0, self.steps or 0.0
        made = steps - (before.steps or 0.0)
        return (rows - (before.rows or 0.0)) / made if made > 0 else None


_NAMES = frozenset({_USED, _TOTAL, _ROWS, _STEPS, _MEAN_ROWS, _DECODES})
