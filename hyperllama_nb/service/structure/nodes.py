"""What an answer is made of where the service writes the structure itself."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

DIGITS = "0123456789"


def dumps(value: Any) -> str:
    """Return JSON as answers have it: spaces behind commas and colons, characters as they are."""
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class Text:
    """A string of between `shortest` and `longest` characters (None: no limit)."""

    shortest: int = 0
    longest: int | None = None

    @property
    def first(self) -> str:
        """Return the characters with which such a value can begin."""
        return '"'

    @property
    def least(self) -> Any:
        """Return the smallest value."""
        return "." * self.shortest


@dataclass(frozen=True)
class Number:
    """A number from `low` to `high`, ends included (None: no limit).

    `step` is for whole numbers alone: each is a multiple of it. 0 allows fractions.
    """

    low: float | None = None
    high: float | None = None
    step: int = 0

    @property
    def first(self) -> str:
        """Return the characters with which such a value can begin."""
        low, high = self.low, self.high
        minus = "-" if low is None or low < 0 else ""
        return minus + (DIGITS if high is None or high >= 0 else "")

    @property
    def least(self) -> Any:
        """Return the value nearest to 0."""
        return self.fit(0)

    def fit(self, value: float) -> float:
        """Return the value itself, or the nearest one that is allowed."""
        if self.low is not None and value < self.low:
            value = self.low
        if self.high is not None and value > self.high:
            value = self.high
        if not self.step:
            return value
        # Limits of whole numbers are whole.
        whole = round(int(value) / self.step) if abs(value) < 1 << 52 else int(value) // self.step
        fitted = whole * self.step
        if self.low is not None and fitted < self.low:
            fitted += self.step
        if self.high is not None and fitted > self.high:
            fitted -= self.step
        return fitted


@dataclass(frozen=True)
class Choice:
    """One of several values, each given as JSON."""

    texts: Sequence[str]

    @property
    def first(self) -> str:
        """Return the characters with which such a value can begin."""
        return "".join(sorted({text[0] for text in self.texts}))

    @property
    def least(self) -> Any:
        """Return the shortest value."""
        return json.loads(min(self.texts, key=len))


@dataclass(frozen=True)
class Array:
    """`before`, then items of one kind; between `fewest` and `most` of these (None: no limit).

    `unique` is for a Choice alone.
    """

    item: "Node | None"
    before: Sequence["Node"] = ()
    fewest: int = 0
    most: int | None = None
    unique: bool = False

    @property
    def first(self) -> str:
        """Return the characters with which such a value can begin."""
        return "["

    @property
    def least(self) -> Any:
        """Return the smallest value."""
        items = [node.least for node in self.before]
        if self.unique and isinstance(self.item, Choice):
            shortest = sorted(self.item.texts, key=len)
            return items + [json.loads(text) for text in shortest[: self.fewest]]
        return items + ([self.item.least] * self.fewest if self.item is not None else [])


@dataclass(frozen=True)
class Object:
    """Properties, all of them, in this order."""

    properties: Sequence[tuple[str, "Node"]]

    @property
    def first(self) -> str:
        """Return the characters with which such a value can begin."""
        return "{"

    @property
    def least(self) -> Any:
        """Return the smallest value."""
        return {name: node.least for name, node in self.properties}


@dataclass(frozen=True)
class Union:
    """One of several kinds of value, which differ in the character that they begin with."""

    kinds: Sequence["Node"]

    @property
    def first(self) -> str:
        """Return the characters with which such a value can begin."""
        return "".join(kind.first for kind in self.kinds)

    @property
    def least(self) -> Any:
        """Return the smallest value."""
        return min((kind.least for kind in self.kinds), key=lambda value: len(dumps(value)))


@dataclass(frozen=True)
class Tagged:
    """One of several objects that begin with the same property, whose value tells which it is.

    The keys of `variants` are JSON; the objects lack the property.
    """

    name: str
    variants: dict[str, Object]

    @property
    def first(self) -> str:
        """Return the characters with which such a value can begin."""
        return "{"

    @property
    def least(self) -> Any:
        """Return the smallest value."""
        wholes = [{self.name: json.loads(tag), **rest.least} for tag, rest in self.variants.items()]
        return min(wholes, key=lambda value: len(dumps(value)))


Node: TypeAlias = Text | Number | Choice | Array | Object | Union | Tagged
