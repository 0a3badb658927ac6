"""Reading a request's `options` and `keep_alive`, with Ollama's names and rules."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hyperllama_nb.errors import InvalidOptionError

MOST_STOPS = 64
LONGEST_STOP = 1024
_INT_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class _Rule:
    """The type of one option, its default, and the range (ends included) that makes sense."""

    kind: type
    default: Any
    low: float = -_INT_MAX
    high: float = _INT_MAX


_RULES: Mapping[str, _Rule] = {
    "num_ctx": _Rule(int, 0, 0),
    "num_keep": _Rule(int, 4, -1),
    "num_predict": _Rule(int, -1),
    "seed": _Rule(int, -1),
    "temperature": _Rule(float, 0.8, 0, 100),
    "top_k": _Rule(int, 40, -1),
    "top_p": _Rule(float, 0.9, 0, 1),
    "min_p": _Rule(float, 0.0, 0, 1),
    "typical_p": _Rule(float, 1.0, 0, 1),
    "repeat_last_n": _Rule(int, 64, -1),
    "repeat_penalty": _Rule(float, 1.0, 0.01, 100),
    "presence_penalty": _Rule(float, 0.0, -2, 2),
    "frequency_penalty": _Rule(float, 0.0, -2, 2),
    "stop": _Rule(list, ()),
    # Not Ollama's: answers of a length that is known, for those who measure engines.
    "ignore_eos": _Rule(bool, False),
}

_WITHOUT_EFFECT: Mapping[str, type] = {
    "draft_num_predict": int,
    "main_gpu": int,
    "num_batch": int,
    "num_gpu": int,
    "num_thread": int,
    "use_mmap": bool,
}
"""Options of Ollama's that choose how a model is loaded; here the backend chooses."""

_TYPE_WORDS = {int: "integer", float: "float32", bool: "boolean"}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one request, complete and checked.

    `values` holds every option that has an effect, under Ollama's name, with defaults filled in.
    `given` are the names that the model's file or the request set. `ignored` are the names in the
    request that have no effect here, to be told to the caller. `backend` is the one that the
    request, or else the model's file, asks for.
    """

    values: Mapping[str, Any]
    given: frozenset[str] = frozenset()
    ignored: tuple[str, ...] = ()
    backend: str | None = None

    @classmethod
    def merge(cls, model: Mapping[str, Any] | None, request: Any) -> "Options":
        """Return the defaults, overlaid with the model's options and then the request's.

        A `null` counts as absent, a float as an integer (its fraction is dropped), a bare string
        as a list of one stop. With `ignore_eos` the model's own stop strings do not count: they,
        too, are its end of a text. Raises InvalidOptionError for a wrong type or a value out of
        range.

        >>> Options.merge({"temperature": 0.5}, {"stop": "end", "seed": 7.0}).values["stop"]
        ('end',)
        """
        if request is not None and not isinstance(request, Mapping):
            raise InvalidOptionError(
                f"`options` must be an object, not {_say(request)}. "
                'Send for example {"temperature": 0}.'
            )
        values = {name: rule.default for name, rule in _RULES.items()}
        given: set[str] = set()
        ignored: list[str] = []
        backend: str | None = None
        for source in (model or {}, request or {}):
            for name, value in source.items():
                if value is None:
                    continue
                if name in _RULES:
                    values[name] = _read(name, value, _RULES[name])
                    given.add(name)
                elif name == "backend":
                    if not isinstance(value, str):
                        raise _wrong_type(name, value, "string")
                    backend = value
                elif source is request:
                    if name in _WITHOUT_EFFECT:
                        _read(name, value, _Rule(_WITHOUT_EFFECT[name], None))
                    ignored.append(name)
        if values["ignore_eos"] and (request or {}).get("stop") is None:
            values["stop"] = ()
        return cls(values, frozenset(given), tuple(ignored), backend)

    @property
    def num_ctx(self) -> int | None:
        """Return the context length asked for, in tokens; None leaves it to the service."""
        return self.values["num_ctx"] or None

    @property
    def num_keep(self) -> int:
        """Return how many tokens of the prompt's beginning survive a cut; -1 means all."""
        return int(self.values["num_keep"])

    @property
    def num_predict(self) -> int | None:
        """Return the most tokens to generate; None means until the context is full."""
        value = int(self.values["num_predict"])
        return value if value >= 0 else None

    @property
    def seed(self) -> int | None:
        """Return the seed, 0 included; None means a random one."""
        value = int(self.values["seed"])
        return value if value >= 0 else None

    @property
    def ignore_eos(self) -> bool:
        """Tell whether to go on after the model's end of a text, up to `num_predict`."""
        return bool(self.values["ignore_eos"])

    @property
    def stop(self) -> tuple[str, ...]:
        """Return the strings that end the generation."""
        return tuple(self.values["stop"])


def _read(name: str, value: Any, rule: _Rule) -> Any:
    """Return `value` as the option's type, or raise InvalidOptionError."""
    if rule.kind is list:
        return _read_stop(name, value)
    if rule.kind is bool:
        if not isinstance(value, bool):
            raise _wrong_type(name, value, "boolean")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(name, value, _TYPE_WORDS[rule.kind])
    if not math.isfinite(value) or not rule.low <= value <= rule.high:
        if rule.high >= _INT_MAX:
            limits = f"{rule.low:g} or more" if rule.low > -_INT_MAX else "a 64-bit number"
        else:
            limits = f"between {rule.low:g} and {rule.high:g}"
        raise InvalidOptionError(f'option "{name}" must be {limits}, and was {value}')
    return rule.kind(value)


def _read_stop(name: str, value: Any) -> tuple[str, ...]:
    """Return the stop strings; empty ones, which would stop everything at once, are left out."""
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, list | tuple) or not all(isinstance(text, str) for text in strings):
        raise InvalidOptionError(
            f'option "{name}" must be of an array of strings, and was {_say(value)}'
        )
    if len(strings) > MOST_STOPS or any(len(text) > LONGEST_STOP for text in strings):
        raise InvalidOptionError(
            f'option "{name}" takes up to {MOST_STOPS} strings of up to {LONGEST_STOP} characters'
        )
    return tuple(dict.fromkeys(text for text in strings if text))


def _wrong_type(name: str, value: Any, wanted: str) -> InvalidOptionError:
    return InvalidOptionError(f'option "{name}" must be of type {wanted}, and was {_say(value)}')


def _say(value: Any) -> str:
    """Return a short description of a JSON value for an error message."""
    words = {str: "the string", bool: "the boolean", list: "an array", dict: "an object"}
    kind = words.get(type(value), "the value")
    return kind if isinstance(value, list | dict) else f"{kind} {str(value)[:40]!r}"


_UNITS = {"ns": 1, "us": 1e3, "µs": 1e3, "μs": 1e3, "ms": 1e6, "s": 1e9, "m": 6e10, "h": 3.6e12}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)", re.ASCII)


def parse_keep_alive(value: Any, *, bare: bool = False) -> float | None:
    """Return how long a model stays loaded, in seconds: None if absent, inf for ever.

    A number is seconds, a string a Go duration ("5m", "1h30m", "0"); any negative value is for
    ever. `bare` also allows a string without a unit, as in the variable OLLAMA_KEEP_ALIVE.
    Raises InvalidOptionError with the text of Go's parser.

    >>> parse_keep_alive("1m30s"), parse_keep_alive(-1), parse_keep_alive(0)
    (90.0, inf, 0.0)
    """
    if value is None:
        return None
    if isinstance(value, str):
        if bare and re.fullmatch(r"[-+]?\d+", value.strip(), re.ASCII):
            return _forever_or(float(value))
        return _forever_or(_go_duration(value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        kind = {bool: "bool", list: "[]interface {}", dict: "map[string]interface {}"}
        raise InvalidOptionError(f"Unsupported type: '{kind.get(type(value), 'unknown')}'")
    if math.isnan(value):
        raise InvalidOptionError("keep_alive must be a number of seconds, and was not a number")
    return _forever_or(value)


def _forever_or(seconds: float) -> float:
    """Return `seconds`, or inf where it is negative or more than Go's 292 years."""
    return math.inf if seconds < 0 or seconds * 1e9 >= _INT_MAX else float(seconds)


def _go_duration(text: str) -> float:
    """Return the seconds of a Go duration string."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    sign = -1.0 if text[:1] == "-" else 1.0
    if digits == "0":
        return 0.0
    position, total = 0, 0.0
    while match := _PART.match(digits, position):
        number, unit = match.groups()
        if not unit:
            raise InvalidOptionError(f'time: missing unit in duration "{text}"')
        if unit not in _UNITS:
            raise InvalidOptionError(f'time: unknown unit "{unit}" in duration "{text}"')
        total += float(number) * _UNITS[unit]
        position = match.end()
    if position != len(digits) or not digits or total > _INT_MAX:
        raise InvalidOptionError(f'time: invalid duration "{text}"')
    return sign * total / 1e9
