"""Choosing a token: Ollama's options in llama.cpp's order, on as few logits as will do."""

import math
from typing import TYPE_CHECKING

import numpy as np

from .request import Sampling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Logits = NDArray[np.float32]
    Ids = NDArray[np.int64]

FOLDS = 64
"""The logits are folded into so many layers to find a bound for the largest ones quickly."""

FIRST = 256
"""Candidates that `top_p` alone looks at first; more only where they do not hold its mass."""


class Sampler:
    """Chooses the tokens of one sequence; same seed and logits, same tokens, whoever else runs."""

    def __init__(self, sampling: Sampling) -> None:
        self._s = sampling
        self._random = np.random.Generator(np.random.PCG64(sampling.seed))
        self.penalised = sampling.repeat_last_n != 0 and (
            sampling.repetition_penalty != 1
            or sampling.presence_penalty != 0
            or sampling.frequency_penalty != 0
        )

    def draw(self, logits: "Logits", history: "Ids", allowed: "NDArray[np.bool_] | None") -> int:
        """Return a token for a row of logits, which is left as it is.

        `history` are the tokens so far, prompt included; `allowed` has a truth for each token.
        Raises ValueError where no token can be chosen, since logits are not finite.
        """
        row = logits
        if self.penalised:
            row = self._penalise(row.copy(), history)
        if allowed is not None:
            row = np.where(allowed, row, np.float32(-np.inf))
        # Where one is no number, it is the largest to numpy.
        best = int(row.argmax())
        if not math.isfinite(row[best]):
            raise ValueError("the logits are not finite")
        if self._s.temperature <= 0:
            return best
        ids, weights = self._candidates(row, row[best])
        sums = np.exp((weights - weights.max()) / self._s.temperature).cumsum()
        place = int(np.searchsorted(sums, self._random.random() * sums[-1], side="right"))
        return int(ids[min(place, len(ids) - 1)])

    def _penalise(self, row: "Logits", history: "Ids") -> "Logits":
        """Lower the logits of the tokens in the window."""
        s = self._s
        window = history if s.repeat_last_n < 0 else history[-s.repeat_last_n :]
        ids, counts = np.unique(window, return_counts=True)
        values = row[ids]
        values = np.where(values > 0, values / s.repetition_penalty, values * s.repetition_penalty)
        row[ids] = values - counts * s.frequency_penalty - s.presence_penalty
        return row

    def _candidates(self, row: "Logits", top: np.float32) -> "tuple[Ids, NDArray[np.float64]]":
        """Return the tokens to draw from and their logits, of which `top` is the largest."""
        s = self._s
        size = row.size
        if 0 < s.top_k < size:
            ids = largest(row, s.top_k)
            weights = row[ids].astype(np.float64)
            total = None
        elif s.typical_p < 1 or s.top_p < 1:
            # The whole mass counts, and only its largest parts are put in order.
            total = float(np.exp(row - top).sum(dtype=np.float64))
            ids, weights = self._enough(row, total)
        elif s.min_p > 0:
            ids = np.flatnonzero(row >= top + np.float32(math.log(s.min_p)))
            return ids, row[ids].astype(np.float64)
        else:
            ids = np.flatnonzero(row > -np.inf)
            return ids, row[ids].astype(np.float64)
        keep = np.isfinite(weights)
        if not keep.all():
            ids, weights = ids[keep], weights[keep]
        if s.typical_p < 1:
            ids, weights = _typical(ids, weights, s.typical_p)
            total = None
        if s.top_p < 1:
            chances = np.exp(weights - weights[0])
            sums = chances.cumsum()
            share = sums / (sums[-1] if total is None else total)
            last = int(np.searchsorted(share, s.top_p, side="left")) + 1
            ids, weights = ids[:last], weights[:last]
        if s.min_p > 0:
            keep = weights >= weights.max() + math.log(s.min_p)
            ids, weights = ids[keep], weights[keep]
        return ids, weights

    def _enough(self, row: "Logits", total: float) -> "tuple[Ids, NDArray[np.float64]]":
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


def _typical(
    ids: "Ids", weights: "NDArray[np.float64]", mass: float
) -> "tuple[Ids, NDArray[np.float64]]":
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
    """Return the places of the `count` largest values, the largest first, equal ones by place."""
    size = row.size
    if count >= size:
        return np.argsort(-row, kind="stable")
    width = size // FOLDS
    if count * 4 > width:
        bound = np.partition(row, size - count)[size - count]
    else:
        # The count-th largest of the layers' maxima is no larger than that of all values, and
        # hardly smaller: a tenth of the time of sorting them.
        tops = row[: width * FOLDS].reshape(FOLDS, width).max(axis=0)
        bound = np.partition(tops, width - count)[width - count]
    places = np.flatnonzero(row >= bound)
    return places[np.argsort(-row[places], kind="stable")[:count]]


def logprobs(row: "Logits", token: int, count: int) -> tuple[float, list[tuple[int, float]]]:
    """Return a token's log-probability, and the `count` likeliest tokens with theirs.

    They are of the model's own distribution, which no option has changed.
    """
    top = row.max()
    whole = float(top) + math.log(float(np.exp(row - top).sum(dtype=np.float64)))
    best = largest(row, count) if count else ()
    return float(row[token]) - whole, [(int(one), float(row[one]) - whole) for one in best]
