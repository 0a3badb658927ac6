"""Reading what OpenAI's chats and completions have in common: sampling, and how to answer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hyperllama_nb.errors import RequestError
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.service import structure
from hyperllama_nb.service.options import Options
from hyperllama_nb.service.wire import Body

MOST_CHOICES = 8
"""Answers to one request: each takes a slot of the engine."""

_OPTIONS: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
    "stop": "stop",
    "max_tokens": "num_predict",
    "max_completion_tokens": "num_predict",
    # Not OpenAI's: what callers need of Ollama's, without `options` around it.
    "num_ctx": "num_ctx",
    "num_keep": "num_keep",
    "top_k": "top_k",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repeat_penalty": "repeat_penalty",
    "repeat_last_n": "repeat_last_n",
    # Not Ollama's either: vLLM and MAX call it so.
    "ignore_eos": "ignore_eos",
}
"""Fields that are options, later ones before earlier ones."""

_DEFAULTS: Mapping[str, Any] = {"temperature": 1.0, "top_p": 1.0}
"""OpenAI's, which come before the model's own, as in Ollama."""

_KNOWN = frozenset(
    {
        *("model", "n", "stream", "stream_options", "options", "keep_alive", "truncate", "shift"),
        # These change nothing in an answer.
        *("user", "metadata", "store", "service_tier", "safety_identifier", "prediction"),
        *("prompt_cache_key", "prompt_cache_retention"),
    }
)

_REFUSED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "logit_bias": (({},), "the engines take no biases. Leave it out."),
    "best_of": ((1,), "one answer is made for each that is told. Use `n`."),
    "functions": (([],), "it was replaced by `tools`."),
    "function_call": (("none", "auto"), "it was replaced by `tool_choice`."),
    "modalities": ((["text"], []), "answers are text."),
    "audio": (({},), "answers are text."),
    "web_search_options": ((), "the service does not search the web."),
    "verbosity": (("medium",), "say in the prompt how long the answer should be."),
}
"""Fields that would change the answer and are not honoured: harmless values, and what to do."""

_EFFORTS: Mapping[str, bool | str] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "max",
    "xhigh": "max",
    "ultra": "max",
}


@dataclass(frozen=True)
class Form:
    """How an answer is told: as a stream, with the token counts at its end, how many of it."""

    stream: bool = False
    usage: bool = False
    n: int = 1

    @classmethod
    def read(cls, body: Body) -> "Form":
        """Return the form that a request asks for; raises RequestError."""
        n = body.get("n", int, 1)
        if not 1 <= n <= MOST_CHOICES:
            raise RequestError(f"`n` must be between 1 and {MOST_CHOICES}, and was {n}.")
        wanted = Body(body.get("stream_options", dict))
        return cls(body.get("stream", bool), wanted.get("include_usage", bool), n)


def read_options(body: Body, manifest: Manifest, own: Iterable[str]) -> Options:
    """Return the options of a request, complete.

    `own` are the fields that the route reads itself. Fields that nobody knows are `ignored`, to
    be told to the caller. Raises InvalidOptionError, and RequestError for a field that asks for
    what is not done.
    """
    for name, (harmless, why) in _REFUSED.items():
        value = body.raw(name)
        if value is not None and value not in harmless:
            raise RequestError(f"`{name}` is not supported: {why}")
    given = {
        option: body.raw(name) for name, option in _OPTIONS.items() if body.raw(name) is not None
    }
    options = body.get("options", dict)
    merged = Options.merge(manifest.options, {**_DEFAULTS, **options, **given})
    known = _KNOWN.union(_OPTIONS, _REFUSED, own)
    unknown = [name for name in body.names() if name not in known]
    return replace(merged, ignored=(*merged.ignored, *unknown))


def read_format(value: Any) -> Any:
    """Return the `format` that a `response_format` asks for; raises RequestError."""
    if value is None:
        return None
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return structure.read("json")
    if kind == "json_schema":
        named = value.get("json_schema")
        schema = named.get("schema") if isinstance(named, Mapping) else None
        if not isinstance(schema, Mapping):
            raise RequestError(
                "`response_format` needs its schema: "
                '{"type": "json_schema", "json_schema": {"name": …, "schema": {…}}}.'
            )
        return structure.read(schema)
    raise RequestError(
        'The `type` of `response_format` must be "text", "json_object" or "json_schema".'
    )


def read_effort(body: Body) -> bool | str | None:
    """Return the `think` that `reasoning_effort` or `reasoning.effort` asks for."""
    effort = Body(body.get("reasoning", dict)).raw("effort")
    if effort is None:
        effort = body.raw("reasoning_effort")
    if effort is None:
        return None
    if not isinstance(effort, str) or effort not in _EFFORTS:
        raise RequestError(
            f"invalid reasoning value: {str(effort)[:40]!r} (must be {', '.join(_EFFORTS)})"
        )
    return _EFFORTS[effort]
