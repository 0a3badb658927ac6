"""What a request may not ask of a model, told in Ollama's words before anything is loaded."""

from hyperllama_nb.errors import RequestError
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.store import Store
from hyperllama_nb.service.abilities import abilities
from hyperllama_nb.service.ask import Ask

MOST_ALTERNATIVES = 20
"""Of Ollama's API; an engine may have a lower limit of its own."""


def check(ask: Ask, store: Store) -> None:
    """Raise RequestError where the model cannot do what is asked."""
    name = ask.manifest.name
    able = abilities(store, ask.manifest)
    if "completion" not in able:
        kind = "generate" if ask.messages is None else "chat"
        raise RequestError(
            f'"{name.display}" does not support {kind}: it makes embeddings. Use /api/embed, or '
            "name a model that generates text."
        )
    if ask.images and "vision" not in able:
        raise RequestError(
            f'"{name.display}" does not support vision: it reads text alone. Leave out `images`.'
        )
    if ask.think and "thinking" not in able:
        raise RequestError(
            f'"{name.display}" does not support thinking. Leave `think` out, or send '
            "`think: false`."
        )
    if ask.tools and ask.tool_choice != "none" and "tools" not in able:
        raise RequestError(
            f"{name.full} does not support tools: its chat template has no place for them. "
            "Leave `tools` out, or name a model whose capabilities (`hyperllama show`) have them."
        )
    if ask.suffix and "insert" not in able:
        raise RequestError(
            f"{name.full} does not support insert: its tokenizer has no tokens for it. Leave "
            "`suffix` out."
        )
    if ask.raw and (ask.system or ask.context):
        raise RequestError("raw mode does not support template, system, or context")


def check_embeds(manifest: Manifest, store: Store) -> None:
    """Raise RequestError, naming models that make embeddings, where this one does not."""
    if "embedding" in abilities(store, manifest):
        return
    others = [m.name.display for m in store.list() if "embedding" in abilities(store, m)]
    known = f"Use {' or '.join(others)}" if others else "Pull one that does (`pull all-minilm`)"
    raise RequestError(
        f'"{manifest.name.display}" does not support embeddings: it generates text, and was not '
        f"trained to make vectors of it. {known}."
    )


def check_alternatives(wanted: int | None) -> None:
    """Raise RequestError unless the number of alternatives is one that the API knows."""
    if wanted is not None and not 0 <= wanted <= MOST_ALTERNATIVES:
        raise RequestError(f"top_logprobs must be between 0 and {MOST_ALTERNATIVES}")
