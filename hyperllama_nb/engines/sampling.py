"""From Ollama's sampling options to the parameters of an engine's completions."""

import math
import secrets
from collections.abc import Mapping
from typing import Any

from hyperllama_nb.errors import InvalidOptionError

SEED_OF_ZERO = 2**31
"""What the seed 0 travels as: an engine takes 0 for "no seed" and draws one."""

HOTTEST = 2.0
"""The highest temperature that the wire takes; Ollama allows more."""

_DEFAULTS: Mapping[str, Any] = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "seed": -1,
    "num_predict": -1,
    "stop": (),
}

_RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0.0, math.inf),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repeat_penalty": (1e-3, 1e3),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}

_WIRE_NAMES = {"repeat_penalty": "repetition_penalty"}


def sampling(options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return wire parameters for Ollama's options, Ollama's defaults filled in.

    The result always has a "seed": one is drawn where none was given, so that it can be told.
    A negative `num_predict` sends no "max_tokens"; 0 sends 0, which an engine takes for 1: the
    caller answers that without an engine. Options that are not about sampling are passed over.
    Raises InvalidOptionError for a value of the wrong type or out of range.
    """
    values = {**_DEFAULTS, **{k: v for k, v in (options or {}).items() if v is not None}}
    wire: dict[str, Any] = {}
    for name, (low, high) in _RANGES.items():
        wire[_WIRE_NAMES.get(name, name)] = _number(name, values[name], low, high)
    wire["temperature"] = min(wire["temperature"], HOTTEST)
    top_k = _whole("top_k", values["top_k"])
    wire["top_k"] = top_k if top_k > 0 else -1
    wire["seed"] = _seed(_whole("seed", values["seed"]))
    limit = _whole("num_predict", values["num_predict"])
    if limit >= 0:
        wire["max_tokens"] = limit
    if options is not None:
        # Not every engine knows these two; the backend leaves them out where it does not.
        wire |= {name: options[name] for name in ("repeat_last_n", "typical_p") if name in options}
    if values.get("ignore_eos"):
        # Only where it is wanted: not every engine knows it, and the caller sees to that.
        wire["ignore_eos"] = True
    stop = _strings(values["stop"])
    if stop:
        # The engine ends by itself at a stop string, but streams it: the service cuts it off.
        wire["stop"] = stop
    return wire


def _seed(value: int) -> int:
    """Return the seed to send, in the range 1 to 2**63 - 1."""
    if value < 0:
        return secrets.randbelow(SEED_OF_ZERO - 1) + 1
    return value % 2**63 or SEED_OF_ZERO


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidOptionError(f"The option {name} must be a number, and was {value!r}.")
    if not low <= value <= high:
        raise InvalidOptionError(
            f"The option {name} must lie between {low:g} and {high:g}, and was {value:g}."
        )
    return float(value)


def _whole(name: str, value: Any) -> int:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise InvalidOptionError(f"The option {name} must be a whole number, and was {value!r}.")
    return int(value)


def _strings(value: Any) -> list[str]:
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, list | tuple) or not all(isinstance(s, str) for s in strings):
        raise InvalidOptionError(
            f"The option stop must be a string or a list of strings, and was {value!r}."
        )
    return [s for s in strings if s]
