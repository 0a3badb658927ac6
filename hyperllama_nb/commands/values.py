"""Values of options that are numbers, read from what people write."""

import argparse
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from hyperllama_nb.bench.throughput import Objectives

T = TypeVar("T", int, float)

LIMITS = {"ttft": "ttft", "tpot": "tpot", "e2e": "e2e", "e2el": "e2e"}
"""What people write for an objective, vLLM's names included, and what it is called here."""


def number(kind: Callable[[str], T], least: int) -> Callable[[str], T]:
    """Return what reads a whole number from `least` up, or any number above it.

    It raises ArgumentTypeError for anything else.

    >>> number(int, 1)("4"), number(float, 0)("0.5")
    (4, 0.5)
    """
    whole = kind is int

    def read(text: str) -> T:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not (value >= least if whole else least < value < math.inf):
            word = f"a whole number from {least} up" if whole else f"a number above {least}"
            raise argparse.ArgumentTypeError(f"{text!r} is not {word}")
        return value

    return read


def many(kind: Callable[[str], T], least: int) -> Callable[[str], tuple[T, ...]]:
    """Return what reads such numbers by commas.

    >>> many(int, 1)("1,4")
    (1, 4)
    """
    each = number(kind, least)
    return lambda text: tuple(each(part) for part in text.split(","))


def objectives(text: str) -> "Objectives":
    """Return the objectives of a list such as `ttft:200,e2e:2000`, whose values are milliseconds.

    Raises ArgumentTypeError for a limit that there is not.

    >>> objectives("ttft:200,tpot:50").ttft
    0.2
    """
    from hyperllama_nb.bench.throughput import Objectives

    found: dict[str, float] = {}
    for part in text.split(","):
        name, colon, value = part.strip().partition(":")
        if name not in LIMITS or not colon:
            raise argparse.ArgumentTypeError(
                f"{part!r} is no limit: write ttft, tpot or e2e, a colon and milliseconds, "
                "such as ttft:200"
            )
        found[LIMITS[name]] = number(float, 0)(value) / 1000
    return Objectives(**found)
