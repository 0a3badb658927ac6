"""The line under an answer, and what is saved with its output."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hyperllama_nb._version import __version__
from hyperllama_nb.display.tables import human_duration

if TYPE_CHECKING:
    from hyperllama_nb.client import Response


def facts(response: "Response", reason: str | None = None) -> dict[str, Any]:
    """Return what is saved with an answer's output: usage, timings, how it ended."""
    from dataclasses import asdict

    ours = response.get("hyperllama") or {}
    return {
        "model": response.get("model"),
        "seed": ours.get("seed"),
        "usage": asdict(response.usage),
        "timings": asdict(response.timings),
        "truncated_tokens": ours.get("truncated_tokens"),
        "finish_reason": reason or response.get("done_reason"),
        "version": __version__,
    }


def footer_of(response: "Response", *, detail: bool = False) -> str:
    """Return the line under an answer: how fast it was, and what was cut from it."""
    times, usage = response.timings, response.usage
    ours = response.get("hyperllama") or {}
    parts: list[str] = []
    if times.first_token is not None:
        loading = (times.load or 0) >= 1
        part = f" ({human_duration(times.load)} of it to load)" if loading else ""
        parts.append(f"first token after {human_duration(times.first_token)}{part}")
    if usage.output_tokens is not None:
        count = usage.output_tokens
        parts.append(f"{count} token{'' if count == 1 else 's'}")
    if times.tokens_per_second is not None:
        parts.append(f"{times.tokens_per_second:.1f} tokens/s")
    if response.thinking:
        parts.append(f"thought {len(response.thinking.split()):,} words first (.thinking)")
    if detail:
        parts += _detail(response)
    if response.get("done_reason") == "length":
        parts.append("cut at the limit of tokens (--max-tokens raises it)")
    if ours.get("truncated_tokens"):
        parts.append(
            f"{ours['truncated_tokens']} tokens of the prompt did not fit the context of "
            f"{ours.get('context_length')} and were left out (--num-ctx raises it)"
        )
    if ours.get("ignored_options"):
        parts.append(f"without effect here: {', '.join(ours['ignored_options'])}")
    return " · ".join(parts)


def context_of(response: "Response") -> str:
    """Return how full the context is after an answer; nothing where that is not known.

    >>> from hyperllama_nb.client import Response
    >>> counts = {"prompt_eval_count": 900, "eval_count": 124}
    >>> context_of(Response(counts | {"hyperllama": {"context_length": 4096}}))
    'context 1,024 of 4,096 tokens (25 %)'
    """
    used = response.usage.total_tokens
    length = (response.get("hyperllama") or {}).get("context_length")
    if used is None or not length:
        return ""
    return f"context {used:,} of {length:,} tokens ({100 * used // length} %)"


def _detail(response: "Response") -> Iterator[str]:
    times, usage = response.timings, response.usage
    if usage.prompt_tokens is not None:
        cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
        yield f"prompt {usage.prompt_tokens} tokens{cached}"
    for label, seconds in (
        ("prompt read in", times.prompt),
        ("loaded in", times.load),
        ("queued", times.queue),
        ("in total", times.total),
    ):
        if seconds is not None and seconds >= 0.0005:
            yield f"{label} {human_duration(seconds)}"
