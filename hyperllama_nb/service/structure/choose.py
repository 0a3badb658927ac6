"""Having a model choose one of several JSON values, by the probabilities of their tokens."""

import difflib
import re
from collections.abc import Sequence

from hyperllama_nb.engines.events import TokenLogprob
from hyperllama_nb.service.structure.asking import Asking

WORDS = 12
"""Tokens that a model may write where it tells no probabilities."""

LONGEST_HINT = 1000
"""Characters of the hint that shows a model its choices."""

MOST_TORN = 100
"""Choices whose tokens are looked at; of more, only the quote that they begin with is shared."""

_KEY = re.compile(r'("(?:[^"\\]|\\.)*"): $')

_ENDS = frozenset(",]}\n")
_STOPS = (",", "]", "}", "\n")


async def choose(asking: Asking, texts: Sequence[str]) -> tuple[str, TokenLogprob | None]:
    """Return the one of several JSON texts that the model takes, and the token that decided.

    The model is asked for a token at a time, only where the texts that are left part. It is shown
    the choices before its answer: engines tell a few alternatives only, and a model that has not
    seen the choices hardly thinks of them. Where none of its likely tokens leads to one of them, it
    writes freely, and the nearest text is taken.
    """
    left, decisive, reached = list(texts), None, 0
    hint = _hint(asking.text, texts)
    while len(left) > 1:
        shared = left[0][: max(reached, _parting(asking, left))]
        # A token begins with its space: without one behind the text, the usual tokens may come.
        before = asking.text + shared if shared else asking.text.rstrip(" ")
        if asking.left(before) < 1:
            return min(left, key=len), decisive
        if asking.left(hint + before) < 1:
            hint = ""
        token = await asking.token(hint + before) if asking.alternatives else None
        known = token and _leading(token, [text[len(shared) :] for text in left], not shared)
        if not known:
            return await _nearest(asking, left, hint + before, shared), decisive
        drawn = asking.draw([(piece, weight) for piece, weight, _ in known])
        ends = next(ends for piece, _, ends in known if piece == drawn)
        before_that, left = len(left), [shared + end for end in ends]
        piece = drawn if shared else drawn.lstrip()
        reached = min(len(shared) + len(piece), len(_shared(left)))
        if len(left) == before_that and reached <= len(shared):
            return await _nearest(asking, left, hint + before, shared), decisive
        decisive = decisive or token
    return left[0], decisive


def _parting(asking: Asking, texts: Sequence[str]) -> int:
    """Return how much all texts share, as far as their tokens end there: a token is not torn."""
    shared = len(_shared(texts))
    if not shared or len(texts) > MOST_TORN:
        return min(shared, 1)
    ends = set.intersection(*(asking.token_ends(text) for text in texts))
    return max((end for end in ends if end <= shared), default=0)


def _hint(text: str, choices: Sequence[str]) -> str:
    """Return examples of all choices, in the form in which the answer has them."""
    key = _KEY.search(text[-LONGEST_HINT:])
    lines = [f"{{{key[1]}: {one}}}\n" if key else f"[{one}]\n" for one in choices]
    hint = "".join(lines)
    return hint if len(hint) <= LONGEST_HINT else ""


def _leading(
    token: TokenLogprob, ends: Sequence[str], start: bool
) -> list[tuple[str, float, list[str]]]:
    """Return the alternatives of a token that lead to some of the ends, and to which.

    Only if none does so exactly, capitals are taken for small letters, and the other way round.
    """
    alternatives = token.top or ((token.token, token.logprob),)
    for fold in (str, str.casefold):
        found = []
        for written, logprob in alternatives:
            piece = fold(written.lstrip() if start else written)
            led = [end for end in ends if piece and fold(end).startswith(piece)]
            if not led and piece:
                # The token goes past the value, or the value has ended before it.
                past = [end for end in ends if end and piece.startswith(fold(end))]
                led = [max(past, key=len)] if past else []
                if not led and "" in ends and piece.lstrip()[:1] in _ENDS:
                    led = [""]
            if led:
                found.append((written, logprob, led))
        if found:
            return found
    return []


def _shared(texts: Sequence[str]) -> str:
    """Return what all texts begin with: as much as the first and the last in order share."""
    low, high = min(texts), max(texts)
    length = next((i for i, one in enumerate(low) if one != high[i]), len(low))
    return low[:length]


async def _nearest(asking: Asking, left: Sequence[str], before: str, shared: str) -> str:
    """Return the text that is most like what the model writes by itself."""
    most = min(WORDS, asking.left(before))
    if most < 1:
        return left[0]
    stops = ('"',) if shared.startswith('"') else _STOPS
    written = shared + await asking.words(before, most=most, stop=stops)
    bare = written.strip().strip('"').casefold()

    def likeness(text: str) -> float:
        value = text.strip('"').casefold()
        if bare and (bare.startswith(value) or value.startswith(bare)):
            return 1 + len(value)
        if value and value in bare:
            return 1.0
        return difflib.SequenceMatcher(None, bare, value).ratio()

    return max(left, key=likeness)
