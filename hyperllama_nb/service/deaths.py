"""How often engines died: a model that keeps dying is not started for ever."""

import time
from collections import deque

from hyperllama_nb.errors import EngineDiedError

MOST = 3
WINDOW = 300.0
"""A model whose engines die more often than MOST times within WINDOW seconds has to wait."""


class Deaths:
    """The times at which the engines of each model died."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}
        self._causes: dict[str, str] = {}

    def count(self, model: str) -> int:
        """Return how many deaths of the model's engines count."""
        times = self._times.get(model, deque())
        while times and times[0] < time.monotonic() - WINDOW:
            times.popleft()
        return len(times)

    def note(self, model: str, time_of_death: float, cause: str) -> None:
        """Take note of a death, at a time of the monotonic clock."""
        self._times.setdefault(model, deque()).append(time_of_death)
        self._causes[model] = cause

    def check(self, model: str) -> None:
        """Raise EngineDiedError, with what the last engine died of, if there were too many."""
        count = self.count(model)
        if count > MOST:
            wait = WINDOW - (time.monotonic() - self._times[model][0])
            raise EngineDiedError(
                f"The engine for {model} ended {count} times in {WINDOW / 60:.0f} minutes, so it "
                f"is not started for the next {wait:.0f} s. {self._causes[model]} "
                f"`hyperllama logs {model}` has its log."
            )
