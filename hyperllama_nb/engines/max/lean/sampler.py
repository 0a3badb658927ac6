"""Choosing a token: Ollama's options in llama.cpp's order, on as few logits as will do."""

import math
from typing import TYPE_CHECKING

import numpy as np

from .request import Sampling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Logits = NDArray[np.float32]
    Weights = NDArray[np.float64]
    Ids = NDArray[np.int64]

FOLDS = 64
"""The logits are folded into so many layers to find a bound for the largest ones quickly."""

_LOWEST = np.finfo(np.float32).min

FIRST = 256
"""Candidates that `top_p` alone looks at first; more only where they do not hold its mass."""


class Sampler:
    """Chooses the tokens of one sequence; same seed and logits, same tokens, whoever else runs."""

    def __init__(self, sampling: Sampling) -> None:
        self._s = sampling
        self._random = np.random.Generator(np.random.PCG64(sampling.seed))
        self._penalises = sampling.repeat_last_n != 0 and (
            sampling.repetition_penalty != 1
            or sampling.presence_penalty != 0
            or sampling.frequency_penalty != 0
        )

    def draw(
        self, row: "Logits", history: "Ids", allowed: "NDArray[np.bool_] | None" = None
    ) -> int:
        """Return a token for a row of logits, which is left as it is.

        `history` are the tokens so far, prompt included; `allowed` has a truth for each token.
        Raises ValueError where no token can be chosen, since logits are not finite.
        """
        if allowed is not None:
            row = np.where(allowed, row, np.float32(-np.inf))
        if self._s.temperature <= 0 and not self._penalises:
            best = int(row.argmax())  # where one is no number, it is the largest to numpy
            _check(row[best])
            return best
        ids, weights = self.candidates(row, history)
        if self._s.temperature <= 0:
            return int(ids[0])
        sums = np.exp((weights - weights.max()) / self._s.temperature).cumsum()
        place = int(np.searchsorted(sums, self._random.random() * sums[-1], side="right"))
        return int(ids[min(place, len(ids) - 1)])

    def candidates(self, row: "Logits", history: "Ids") -> "tuple[Ids, Weights]":
        """Return the tokens to draw from and their logits, penalties included.

        At temperature 0 the first is the one. Raises ValueError where logits are not finite.
        """
        s = self._s
        count = 1 if s.temperature <= 0 else s.top_k
        if 0 < count < row.size:
            ids, weights = self._top(row, history, count)
            total = None
        else:
            if self._penalises:
                row = row.copy()
                known, counts = self._window(history)
                row[known] = self._lowered(row[known], counts)
            top = row.max()
            _check(top)
            if s.typical_p >= 1 and s.top_p >= 1:
                bound = top + np.float32(math.log(s.min_p)) if s.min_p > 0 else _LOWEST
                ids = np.flatnonzero(row >= bound)
                return ids, row[ids].astype(np.float64)
            # The whole mass counts, and only its largest parts are put in order.
            total = float(np.exp(row - top).sum(dtype=np.float64))
            ids, weights = self._enough(row, total)
        if weights[-1] == -np.inf:
            keep = weights > -np.inf
            ids, weights = ids[keep], weights[keep]
        if s.typical_p < 1:
            ids, weights = _typical(ids, weights, s.typical_p)
            total = None
        if s.top_p < 1:
            sums = np.exp(weights - weights[0]).cumsum()
            mass = s.top_p * (sums[-1] if total is None else total)
            last = int(np.searchsorted(sums, mass, side="left")) + 1
            ids, weights = ids[:last], weights[:last]
        if s.min_p > 0:
            keep = weights >= weights[0] + math.log(s.min_p)
            ids, weights = ids[keep], weights[keep]
        return ids, weights

    def _top(self, row: "Logits", history: "Ids", count: int) -> "tuple[Ids, Weights]":
        """Return the `count` largest logits in order, penalties included."""
        if not self._penalises:
            ids = largest(row, count)
            return ids, row[ids].astype(np.float64)
        # Penalties move the tokens of the window only: with so many more of the others, all that
        # can be among the largest afterwards are here, and the row need not be copied.
        known, counts = self._window(history)
        first = largest(row, count + known.size)
        ids = np.union1d(first, known)
        values = row[ids]
        places = np.searchsorted(ids, known)
        values[places] = self._lowered(values[places], counts)
        order = np.argsort(-values, kind="stable")[:count]
        return ids[order], values[order].astype(np.float64)

    def _window(self, history: "Ids") -> "tuple[Ids, Ids]":
        """Return the tokens that the penalties look back on, and how often each is there."""
        last = self._s.repeat_last_n
        return np.unique(history if last < 0 else history[-last:], return_counts=True)

    def _lowered(self, values: "Logits", counts: "Ids") -> "Logits":
        """Return logits with the penalties for tokens that came so often."""
        s = self._s
        penalty = np.float32(s.repetition_penalty)
        values = np.where(values > 0, values / penalty, values * penalty)
        lowered = counts * s.frequency_penalty + s.presence_penalty
        return values - lowered.astype(np.float32)

    def _enough(self, row: "Logits", total: float) -> "tuple[Ids, Weights]":
        """Return the largest logits in order: as many as hold the mass that `top_p` asks for."""
        count = FIRST if self._s.typical_p >= 1 else row.size
        while True:
            ids = largest(row, count)
            weights = row[ids].astype(np.float64)
            if count >= row.size:
                return ids, weights
            if np.exp(weights - weights[0]).sum() >= self._s.top_p * total:
                return ids, weights
            count *= 8


def _typical(ids: "Ids", weights: "Weights", mass: float) -> "tuple[Ids, Weights]":
    """Keep the tokens whose surprise is nearest to the expected one, up to a mass; in order."""
    chances = np.exp(weights - weights.max())
    chances /= chances.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = -np.log(chances)
    expected = float(np.nansum(chances * surprise))
    order = np.argsort(np.abs(surprise - expected), kind="stable")
    last = int(np.searchsorted(chances[order].cumsum(), mass, side="right")) + 1
    kept = np.sort(order[:last])
    return ids[kept], weights[kept]


def largest(row: "Logits", count: int) -> "Ids":
    """Return the places of the `count` largest values, the largest first, equal ones by place.

    Raises ValueError where values are not finite, unless by being the smallest.
    """
    size = row.size
    width = size // FOLDS
    if count * 4 > width:
        bound = np.partition(row, size - count)[size - count] if count < size else -np.inf
        places = np.flatnonzero(~(row < bound))
    else:
        # The count-th largest of the layers' maxima is no larger than that of all values, and
        # hardly smaller: one pass finds it, and the few columns that hold something larger.
        folded = row[: width * FOLDS].reshape(FOLDS, width)
        tops = folded.max(axis=0)
        bound = np.partition(tops, width - count)[width - count]
        columns = np.flatnonzero(~(tops < bound))
        layers, found = np.nonzero(~(folded[:, columns] < bound))
        places = layers * width + columns[found]
        if rest := size - width * FOLDS:
            beyond = np.flatnonzero(~(row[-rest:] < bound)) + width * FOLDS
            places = np.concatenate((places, beyond))
    # By place first, since equal ones keep that order.
    places.sort()
    values = row[places]
    _check(values.max())
    return places[np.argsort(-values, kind="stable")[:count]]


def _check(top: np.float32) -> None:
    """Raise ValueError if the largest logit is no number, which it is if any is none."""
    if not math.isfinite(top):
        raise ValueError("the logits are not finite")


def logprobs(row: "Logits", token: int, count: int) -> tuple[float, list[tuple[int, float]]]:
    """Return a token's log-probability, and the `count` likeliest tokens with theirs.

    They are of the model's own distribution, which no option has changed.
    """
    top = row.max()
    whole = float(top) + math.log(float(np.exp(row - top).sum(dtype=np.float64)))
    best = largest(row, count) if count else ()
    return float(row[token]) - whole, [(int(one), float(row[one]) - whole) for one in best]
