"""From messages to the token ids that an engine is given, and what to leave out when too many."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperllama_nb.errors import PromptTooLongError, RequestError
from hyperllama_nb.service.tokens import Tokens

if TYPE_CHECKING:
    from hyperllama_nb.models.manifest import Manifest
    from hyperllama_nb.service.abilities import Insertion

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A prompt that leaves room for an answer: its ids, and how many tokens were left out."""

    ids: list[int]
    truncated: int = 0


def _aim(limit: int) -> int:
    """Return the length below which a prompt is cut once it must be cut."""
    return limit - limit // 4


class Prompter:
    """Render, tokenise and shorten prompts for one model.

    Text of a request cannot forge a turn: where a system, user or tool message, or the prompt of
    `fit_prompt`, contains the string of a special token (`<|im_end|>`), it is encoded as plain
    text. Assistant messages are exempt, since templates read their own markers in them, and so is
    `raw`, whose caller writes the template. Markers that are no special tokens of the tokenizer
    (`[INST]` of some models) are ordinary text for the model too, and cannot be told apart.
    """

    def __init__(self, directory: Path, manifest: "Manifest") -> None:
        """Read from `directory`, the store's view of the model, when first needed."""
        self._directory = directory
        self._source = manifest.template
        self._name = manifest.name.display
        self._tokens = Tokens(directory, self._name)

    def load(self) -> None:
        """Read tokenizer and template now, so that the first request need not."""
        self._tokens.load()
        _ = self._template

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Return the ids of `text`, with no start token that it does not spell.

        `special` recognises special tokens, except those that `render` marked as text.
        """
        return self._tokens.encode(text, special=special)

    def whole(self, text: str, limit: int) -> tuple[list[int], int]:
        """Return the ids of a text to embed, of at most `limit`, and how many it has uncut.

        The ids are empty where `limit` leaves no room for a token of the text.
        """
        return self._tokens.whole(text, limit)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, special tokens spelled out."""
        return self._tokens.decode(ids)

    def visible(self, rendered: str) -> str:
        """Return what `render` gave as it reads, for people."""
        return self._tokens.visible(rendered)

    @property
    def has_template(self) -> bool:
        """Return whether the model can chat."""
        return self._template is not None

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Any] | None = None,
        think: bool | str | None = None,
    ) -> str:
        """Return the model's own prompt for `messages`, ready for `encode`.

        If the last message is the assistant's, the prompt ends with it, to be continued.
        Raises RequestError if the model has no template or the template refuses the messages.
        """
        if self._template is None:
            raise RequestError(
                f'"{self._name}" does not support chat: it has no chat template. '
                "Use /api/generate, which gives it the prompt as it is."
            )
        turns = [
            dict(turn) if turn.get("role") == "assistant" else self._tokens.guard(turn)
            for turn in messages
        ]
        given = self._tokens.guard(tools) if tools else None
        context: dict[str, Any] = {**self._tokens.named, "messages": turns, "tools": given}
        if think is not None:
            context["enable_thinking"] = bool(think)
            if isinstance(think, str):
                context["reasoning_effort"] = think
        if not turns or turns[-1].get("role") != "assistant":
            return self._template(**context, add_generation_prompt=True)
        text = self._template(**context, add_generation_prompt=False)
        begun = str(turns[-1].get("content") or "").strip()
        at = text.rfind(begun) if begun else -1
        return text[: at + len(begun)] if at >= 0 else text

    def fit_chat(
        self,
        messages: Sequence[Message],
        limit: int,
        *,
        tools: Sequence[Any] | None = None,
        think: bool | str | None = None,
        truncate: bool = True,
        shift: bool = True,
    ) -> Fitted:
        """Return the ids of a chat that leave room for a token within `limit`.

        If all of it would not, leaves out the oldest messages, up to one of the user's, until a
        quarter of the context is free for the answer, but never a system message nor the last
        one; if there is no room even so, the beginning of the last one, unless `shift` is false.
        Raises PromptTooLongError if `truncate` is false or system messages and template leave no
        room.
        """

        def ids(turns: Sequence[Message]) -> list[int]:
            return self.encode(self.render(turns, tools=tools, think=think))

        whole = ids(messages)
        if len(whole) < limit:
            return Fitted(whole)
        if not truncate or not messages:
            raise self._too_long(len(whole), limit)
        *earlier, final = messages
        starts = [i for i, turn in enumerate(earlier) if turn.get("role") == "user"][1:]

        def since(start: int) -> list[Message]:
            kept = [m for i, m in enumerate(earlier) if i >= start or m.get("role") == "system"]
            return [*kept, final]

        starts.append(len(earlier))
        aim = _aim(limit)
        best = bisect_left(starts[:-1], True, key=lambda start: len(ids(since(start))) < aim)
        kept = ids(since(starts[best]))
        if len(kept) < limit:
            return Fitted(kept, len(whole) - len(kept))
        if not shift:
            raise self._too_long(len(kept), limit)
        alone = since(len(earlier))[:-1]
        return self._shorten(
            str(final.get("content") or ""),
            lambda text: ids([*alone, {**final, "content": text}]),
            limit,
            whole=len(whole),
        )

    def fit_prompt(
        self,
        prompt: str,
        limit: int,
        *,
        system: str | None = None,
        earlier: Sequence[Message] = (),
        raw: bool = False,
        think: bool | str | None = None,
        context: Sequence[int] = (),
        num_keep: int = 4,
        truncate: bool = True,
    ) -> Fitted:
        """Return the ids of a single prompt that leave room for a token within `limit`.

        `raw` takes the prompt as it is. Otherwise it is a user's message in the model's template,
        after `system` and the messages `earlier`; a model without a template gets the system
        text, an empty line, and the prompt. `context` are ids of an earlier exchange, put before
        all. What is too long loses its middle: the first `num_keep` tokens (-1: all) and the end
        stay, with the template around them, and a quarter of the context is left for the answer.
        Raises PromptTooLongError if that is not possible or not allowed.
        """
        plain = raw or self._template is None
        before: list[Message] = [{"role": "system", "content": system}] if system else []
        before += earlier

        def ids(text: str) -> list[int]:
            if raw:
                return self._tokens.encode(text, start=not context)
            if plain:
                text = self._tokens.guard(f"{system}\n\n{text}" if system else text)
                return self._tokens.encode(text, start=not context)
            turns = [*before, {"role": "user", "content": text}]
            return self.encode(self.render(turns, think=think))

        asked = ids(prompt)
        whole = [*context, *asked]
        if len(whole) < limit:
            return Fitted(whole)
        if not truncate or num_keep < 0:
            raise self._too_long(len(whole), limit)
        aim = _aim(limit)
        if plain or len(asked) + num_keep < aim:
            if aim < 2:
                raise self._too_long(len(whole), limit)
            head = min(num_keep, aim - 2)
            tail = aim - 1 - head
            return Fitted([*whole[:head], *whole[-tail:]], len(whole) - head - tail)
        keep = max(0, num_keep - len(ids("")))
        return self._shorten(prompt, ids, limit, whole=len(whole), keep=keep)

    def fit_insertion(
        self, form: "Insertion", prefix: str, suffix: str, limit: int, *, truncate: bool = True
    ) -> Fitted:
        """Return the ids that ask for the text between `prefix` and `suffix`.

        What is too long loses the beginning of `prefix`. Raises PromptTooLongError if that is not
        enough or not allowed.
        """

        def ids(text: str) -> list[int]:
            return self._tokens.encode(
                form.prompt(self._tokens.guard(text), self._tokens.guard(suffix)), start=True
            )

        whole = ids(prefix)
        if len(whole) < limit:
            return Fitted(whole)
        if not truncate:
            raise self._too_long(len(whole), limit)
        return self._shorten(prefix, ids, limit, whole=len(whole))

    def _shorten(
        self,
        text: str,
        ids: Callable[[str], list[int]],
        limit: int,
        *,
        whole: int,
        keep: int = 0,
    ) -> Fitted:
        """Leave out tokens of `text` after its first `keep`, until `ids(text)` leaves room."""
        fixed = len(ids(""))
        least = fixed + keep + 1
        aim = _aim(limit) if least < _aim(limit) else limit
        if least >= aim:
            raise self._too_long(whole, limit, fixed)
        drop = 0
        while True:
            kept = ids(self._tokens.cut(text, keep, drop))
            if len(kept) < aim:
                return Fitted(kept, whole - len(kept))
            if drop > whole:
                raise self._too_long(whole, limit, len(kept))
            # Joining what was apart can merge or split tokens, so that one cut may not do.
            drop += len(kept) - aim + 1

    def _too_long(self, tokens: int, limit: int, fixed: int = 0) -> PromptTooLongError:
        if fixed:
            why = f"the system prompt and the template take {fixed}"
            step = "Shorten the system prompt, or raise `num_ctx`."
        else:
            why = "one is for the answer"
            step = "Shorten the prompt, raise `num_ctx`, or allow a cut with `truncate: true`."
        return PromptTooLongError(
            # The beginning is Ollama's own sentence: clients match on it.
            "the prompt is longer than the context length currently available to the model: "
            f'it has {tokens} tokens, and the context of "{self._name}" holds {limit}, of '
            f"which {why}. {step}"
        )

    @cached_property
    def template_source(self) -> str | None:
        """Return the text of the chat template; None for a model that has none."""
        source: Any = self._source
        file = self._directory / "chat_template.jinja"
        if not source and file.exists():
            source = file.read_text("utf-8")
        source = source or self._tokens.config.get("chat_template")
        if isinstance(source, list):
            named = {item.get("name"): item.get("template") for item in source}
            source = named.get("default") or next(iter(named.values()), None)
        return source or None

    @cached_property
    def _template(self) -> Callable[..., str] | None:
        # Jinja costs 25 ms to import, and the service's start does not need it.
        from hyperllama_nb.service.template import compile_template

        source = self.template_source
        return compile_template(source, self._name) if source else None
