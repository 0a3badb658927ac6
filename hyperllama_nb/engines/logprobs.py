"""The log-probabilities of tokens, in the two forms in which engines send them."""

from collections.abc import Mapping
from typing import Any

from hyperllama_nb.engines.events import TokenLogprob


def read(found: Any, text: str = "") -> tuple[TokenLogprob, ...]:
    """Return the tokens of a choice's `logprobs`, whose text is `text`; none for a skeleton.

    MAX sends OpenAI's form for completions (lists side by side) and leaves `tokens` out of it,
    llama.cpp that for chats (a list of objects). Alternatives are sorted, the likeliest first.
    """
    # A dict and not any Mapping: this is asked for each token, and almost always in vain.
    if not isinstance(found, dict):
        return ()
    if isinstance(found.get("content"), list):
        return tuple(
            TokenLogprob(
                item["token"],
                item["logprob"],
                _sorted({top["token"]: top["logprob"] for top in item.get("top_logprobs") or ()}),
            )
            for item in found["content"]
        )
    values = found.get("token_logprobs")
    if not values:
        return ()
    tops = found.get("top_logprobs") or [{}] * len(values)
    tokens = found.get("tokens")
    if not tokens and len(values) == 1:
        tokens = [text]
    elif not tokens:
        # The token is always among the alternatives, with the same value.
        tokens = [
            next((token for token, other in (top or {}).items() if other == value), "")
            for value, top in zip(values, tops, strict=False)
        ]
    return tuple(
        TokenLogprob(token, value, _sorted(top or {}))
        for token, value, top in zip(tokens, values, tops, strict=False)
        if value is not None
    )


def _sorted(alternatives: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(alternatives.items(), key=lambda pair: -pair[1]))
