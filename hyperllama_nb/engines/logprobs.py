"""The log-probabilities of tokens, in the two forms in which engines send them."""

from collections.abc import Mapping
from typing import Any

from hyperllama_nb.engines.events import TokenLogprob


def read(found: Any) -> tuple[TokenLogprob, ...]:
    """Return the tokens of a choice's `logprobs`; none for the empty skeleton of MAX.

    MAX sends OpenAI's form for completions (lists side by side), llama.cpp that for chats (a list
    of objects). Alternatives are sorted, the likeliest first.
    """
    if not isinstance(found, Mapping):
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
    tokens, values = found.get("tokens") or [], found.get("token_logprobs") or []
    tops = found.get("top_logprobs") or [{}] * len(tokens)
    return tuple(
        TokenLogprob(token, value, _sorted(top or {}))
        for token, value, top in zip(tokens, values, tops, strict=False)
        if value is not None
    )


def _sorted(alternatives: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(alternatives.items(), key=lambda pair: -pair[1]))
