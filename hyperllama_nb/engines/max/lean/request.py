"""A completion's request: what its fields mean, and what is refused."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import RefusedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_LOGPROBS = 20
"""Alternatives that are told for a token at most."""

MOST_STOPS = 64
"""Stop strings of one request at most: each costs time with every token."""

LONGEST_STOP = 1000
"""Characters of a stop string."""

WINDOW = 64
"""Tokens that the penalties look back on where the request does not say, as in llama.cpp."""


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen; the defaults change nothing.

    `top_k` 0 or less is off, `repeat_last_n` 0 turns all penalties off and -1 is the whole text.
    """

    temperature: float = 1.0
    top_k: int = -1
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_last_n: int = WINDOW
    seed: int | None = None


@dataclass(frozen=True, eq=False)
class Request:
    """A prompt, and how to go on from it.

    `limit` is the most tokens to generate, None for as many as the context holds. `logprobs` is
    the number of alternatives to tell, None for no log-probabilities at all. `schema` is what the
    text must follow, None for nothing.
    """

    prompt: "NDArray[np.int64]"
    sampling: Sampling = Sampling()
    limit: int | None = None
    stop: tuple[str, ...] = ()
    stop_ids: frozenset[int] = frozenset()
    ignore_eos: bool = False
    logprobs: int | None = None
    schema: Mapping[str, Any] | None = None
    stream: bool = False
    usage: bool = False


_RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0.0, 100.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "typical_p": (0.0, 1.0),
    "repetition_penalty": (1e-6, 1e6),
    "presence_penalty": (-100.0, 100.0),
    "frequency_penalty": (-100.0, 100.0),
}
_WHOLE: Mapping[str, tuple[int, int]] = {
    "top_k": (-1, 2**31),
    "repeat_last_n": (-1, 2**31),
    "seed": (0, 2**64 - 1),
    "max_tokens": (0, 2**31),
    "logprobs": (0, MOST_LOGPROBS),
}
_OTHERS = frozenset(
    {"ignore_eos", "model", "prompt", "schema", "stop", "stop_token_ids", "stream"}
    | {"stream_options"}
)


def read(
    body: Any, *, model: str, vocab: int, context: int, encode: Callable[[str], Sequence[int]]
) -> Request:
    """Return the request that a JSON body states; a prompt in text is given to `encode`.

    Raises RefusedError for a field that is unknown, of the wrong type or out of range, for another
    model, and for a prompt that leaves no room for an answer in `context` tokens.
    """
    if not isinstance(body, dict):
        raise RefusedError(400, "The body is no JSON object.")
    body = {name: value for name, value in body.items() if value is not None}
    unknown = body.keys() - _RANGES.keys() - _WHOLE.keys() - _OTHERS
    if unknown:
        raise RefusedError(400, f"Extra inputs are not permitted: {', '.join(sorted(unknown))}.")
    if body.get("model", "") not in ("", model):
        raise RefusedError(400, f"The model here is {model!r}, not {body['model']!r}.")
    values = {name: _number(name, body[name], *_RANGES[name]) for name in _RANGES if name in body}
    whole = {name: _count(name, body[name], *_WHOLE[name]) for name in _WHOLE if name in body}
    limit, logprobs = whole.pop("max_tokens", None), whole.pop("logprobs", None)
    options = body.get("stream_options", {})
    return Request(
        prompt=_prompt(body.get("prompt"), vocab, context, encode),
        sampling=Sampling(**values, **whole),  # type: ignore[arg-type]
        # As everywhere, the first token is never asked to be left out.
        limit=None if limit is None else max(1, limit),
        stop=_stops(body.get("stop", ())),
        stop_ids=frozenset(_ids("stop_token_ids", body.get("stop_token_ids", []), vocab).tolist()),
        ignore_eos=_flag("ignore_eos", body.get("ignore_eos", False)),
        logprobs=logprobs,
        schema=_schema(body.get("schema")),
        stream=_flag("stream", body.get("stream", False)),
        usage=isinstance(options, dict) and bool(options.get("include_usage")),
    )


def _prompt(
    value: Any, vocab: int, context: int, encode: Callable[[str], Sequence[int]]
) -> "NDArray[np.int64]":
    if isinstance(value, str):
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise RefusedError(400, "The prompt has half a character in it.")
        value = list(encode(value))
    if isinstance(value, list) and len(value) >= context:
        raise RefusedError(
            400, f"Prompt is too long: {len(value)} tokens exceeds the context of {context}."
        )
    prompt = _ids("prompt", value, vocab)
    if not prompt.size:
        raise RefusedError(400, "The prompt is empty.")
    return prompt


def _ids(name: str, value: Any, vocab: int) -> "NDArray[np.int64]":
    # `type` and not `isinstance`: a bool is no token.
    if not isinstance(value, list) or any(type(token) is not int for token in value):
        raise RefusedError(400, f"{name} must be a list of token ids.")
    if value and not 0 <= min(value) <= max(value) < vocab:
        raise RefusedError(400, f"{name} has a token that the model does not know ({vocab} known).")
    return np.array(value, dtype=np.int64)


def _schema(value: Any) -> Mapping[str, Any] | None:
    if value is None or isinstance(value, dict):
        return value or ({"type": "object"} if value is not None else None)
    if value == "json":
        return {"type": "object"}
    raise RefusedError(400, 'schema must be a JSON schema (an object), or "json".')


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list | tuple) or not all(isinstance(stop, str) for stop in stops):
        raise RefusedError(400, "stop must be a string or a list of strings.")
    if len(stops) > MOST_STOPS or any(len(stop) > LONGEST_STOP for stop in stops):
        raise RefusedError(
            400, f"stop must be at most {MOST_STOPS} strings of {LONGEST_STOP} characters."
        )
    return tuple(stop for stop in stops if stop)


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RefusedError(400, f"{name} must be a number.")
    if not low <= value <= high:
        raise RefusedError(400, f"{name} must lie between {low:g} and {high:g}.")
    return float(value)


def _count(name: str, value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise RefusedError(400, f"{name} must be a whole number between {low} and {high}.")
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise RefusedError(400, f"{name} must be true or false.")
    return value
