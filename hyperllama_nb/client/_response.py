"""A finished answer, and the answer as it grows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hyperllama_nb.client._records import Record

Kind = Literal["generate", "chat"]

_NANO = 1e9


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer; None where the engine did not say. `prompt_tokens` has the cached."""

    prompt_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None

    @property
    def total_tokens(self) -> int | None:
        """Return prompt and output together."""
        if self.prompt_tokens is None or self.output_tokens is None:
            return None
        return self.prompt_tokens + self.output_tokens


@dataclass(frozen=True)
class Timings:
    """Durations of one answer in seconds, measured in the service; None where unknown.

    `first_token` counts from the request's arrival to the first text, `load` and `queue` are parts
    of it. `tokens_per_second` is (N - 1) / `generation` for N output tokens, since `generation`
    counts from the first token: the N that Ollama's clients divide by it says too much.
    """

    total: float | None
    load: float | None
    queue: float | None
    first_token: float | None
    prompt: float | None
    generation: float | None
    tokens_per_second: float | None


class Response(Record):
    """An answer: Ollama's final object with the whole text in it.

    `dict(response)` is that object; `.text`, `.usage` and `.timings` are what one mostly wants.
    An answer that was interrupted has `done` False and what had arrived. `str` is the text.
    """

    parsed: Any = None
    """What the answer says, where a schema or JSON was asked for: a dict, or the caller's class."""

    @property
    def text(self) -> str:
        """Return the answer's text."""
        found = self["message"].get("content") if "message" in self else self.get("response")
        return str(found or "")

    @property
    def thinking(self) -> str | None:
        """Return what the model thought before it answered, if it did."""
        place = self.get("message", self)
        thought = place.get("thinking")
        return None if thought is None else str(thought)

    @property
    def code(self) -> str | None:
        """Return the first fenced block of code in the text, without its fences; None if none."""
        from hyperllama_nb.display.fences import blocks

        found = blocks(self.text)
        return found[0].code if found else None

    @property
    def message(self) -> Record:
        """Return the answer as a chat message, ready to be appended to a conversation."""
        found = self.get("message")
        if isinstance(found, Record):
            return found
        return Record({"role": "assistant", "content": self.text})

    @property
    def usage(self) -> Usage:
        """Return the counts of tokens."""
        return Usage(
            self.get("prompt_eval_count"),
            self.get("eval_count"),
            self.get("prompt_eval_cached_count"),
        )

    @property
    def timings(self) -> Timings:
        """Return the durations in seconds."""
        ours = self.get("hyperllama") or {}
        count, span = self.get("eval_count"), self.get("eval_duration")
        return Timings(
            total=_seconds(self.get("total_duration")),
            load=_seconds(self.get("load_duration")),
            queue=_seconds(ours.get("queue_duration")),
            first_token=_seconds(ours.get("first_token_duration")),
            prompt=_seconds(self.get("prompt_eval_duration")),
            generation=_seconds(span),
            tokens_per_second=(count - 1) / span * _NANO if count and count > 1 and span else None,
        )

    def json(self) -> dict[str, Any]:
        """Return Ollama's final object as a plain dict."""
        return {key: plain(value) for key, value in self.items()}

    def __repr__(self) -> str:
        """Return the answer's beginning and its figures in one line."""
        text = self.text if len(self.text) <= 60 else self.text[:59] + "…"
        facts = [repr(text)]
        if self.usage.output_tokens is not None:
            facts.append(f"{self.usage.output_tokens} tokens")
        if self.timings.tokens_per_second is not None:
            facts.append(f"{self.timings.tokens_per_second:.1f} tokens/s")
        facts.append(str(self.get("done_reason") or ("done" if self.get("done") else "unfinished")))
        return f"<Response {self.get('model')} {', '.join(facts)}>"

    def __str__(self) -> str:
        """Return the text."""
        return self.text

    def _repr_markdown_(self) -> str:
        from hyperllama_nb.display.harmless import harmless

        return harmless(self.text) or " "


class Growing:
    """Collects the chunks of one answer."""

    def __init__(self, kind: Kind, model: str) -> None:
        self._kind, self._model = kind, model
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._lists: dict[str, list[Any]] = {}
        self._last: Mapping[str, Any] = {}

    def add(self, chunk: Mapping[str, Any]) -> str:
        """Take a chunk and return its text."""
        place = chunk.get("message") or {} if self._kind == "chat" else chunk
        text = str(place.get("content" if self._kind == "chat" else "response") or "")
        if text:
            self._texts.append(text)
        if place.get("thinking"):
            self._thoughts.append(place["thinking"])
        for name in ("tool_calls", "logprobs"):
            found = place.get(name) or chunk.get(name)
            if found:
                self._lists.setdefault(name, []).extend(found)
        self._last = chunk
        return text

    @property
    def done(self) -> bool:
        """Tell whether the final chunk has come."""
        return bool(self._last.get("done"))

    def response(self) -> Response:
        """Return the answer so far."""
        final: dict[str, Any] = {"model": self._model, "done": False, **self._last}
        extra: dict[str, Any] = {}
        if self._thoughts:
            extra["thinking"] = "".join(self._thoughts)
        text, lists = "".join(self._texts), dict(self._lists)
        if "logprobs" in lists:
            final["logprobs"] = lists.pop("logprobs")
        if self._kind == "chat":
            final["message"] = {
                "role": "assistant",
                **(self._last.get("message") or {}),
                "content": text,
                **extra,
                **lists,
            }
        else:
            final |= {"response": text, **extra, **lists}
        return Response(final)


def plain(value: Any) -> Any:
    """Return records as plain dicts, at any depth."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def _seconds(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / _NANO
