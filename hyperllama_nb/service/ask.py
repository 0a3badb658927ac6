"""What a generating request asks for, and what it gets: the words between routes and engines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hyperllama_nb.engines.events import TokenLogprob
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.service.options import Options
from hyperllama_nb.service.parsing import ToolCall

Message = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What one request wants of a model: a chat if `messages` is given, else a completion.

    A message has `role` and `content`, and may have `thinking`, `tool_calls`, `tool_name` and
    `tool_call_id`. `context` are token ids to put before the prompt. `format` is "json" or a JSON
    schema. `logprobs` is the number of alternatives to tell for each token: None tells nothing,
    0 the tokens alone. `think` None leaves it to the model: one that can think does.
    """

    manifest: Manifest
    options: Options
    messages: Sequence[Message] | None = None
    prompt: str = ""
    system: str | None = None
    raw: bool = False
    context: Sequence[int] = ()
    suffix: str = ""
    images: bool = False
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str | None = None
    think: bool | str | None = None
    format: Any = None
    logprobs: int | None = None
    truncate: bool = True
    shift: bool | None = None
    keep_alive: float | None = None
    lease: str | None = None
    backend: str | None = None
    caller: str = "local"

    @property
    def size(self) -> int:
        """Return how many characters the prompt has, about."""
        turns = self.messages or ()
        return len(self.prompt) + sum(len(str(turn.get("content") or "")) for turn in turns)

    @property
    def empty(self) -> bool:
        """Tell whether there is nothing to answer: such a request loads the model."""
        return not self.messages and not self.prompt and not self.suffix


@dataclass(slots=True)
class Piece:
    """A part of an answer, as it comes."""

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()

    @property
    def plain(self) -> bool:
        """Tell whether it is nothing but text, as most are."""
        return not (self.thinking or self.tool_calls or self.logprobs)


@dataclass
class Outcome:
    """How a generation went; durations in nanoseconds, counts in tokens.

    `prompt` and `reply` are token ids, the reply's as its text encodes. `first_token` counts from
    the request's arrival, `prompt_eval` from the moment the engine had it. `truncated_tokens` were
    left out of the prompt, `shifted_tokens` dropped while the answer outgrew the context.
    `structure` says how a `format` was met: the engine was constrained to it, the service filled
    it in, or answers were validated until one was right.
    """

    prompt: list[int]
    reply: list[int] = field(default_factory=list)
    text: str = ""
    thinking: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    reason: str = "stop"
    prompt_tokens: int = 0
    cached_tokens: int | None = None
    output_tokens: int = 0
    truncated_tokens: int = 0
    shifted_tokens: int = 0
    context_length: int = 0
    backend: str = ""
    structure: str | None = None
    seed: int | None = None
    ignored: tuple[str, ...] = ()
    total: int = 0
    load: int = 0
    queue: int = 0
    first_token: int = 0
    prompt_eval: int = 0
    eval: int = 0

    def add(self, piece: Piece) -> None:
        """Append a piece to the whole answer."""
        self.text += piece.text
        self.thinking += piece.thinking
        self.tool_calls += piece.tool_calls
        self.logprobs += piece.logprobs

    @property
    def whole(self) -> Piece:
        """Return the whole answer as one piece."""
        return Piece(self.text, self.thinking, tuple(self.tool_calls), tuple(self.logprobs))

    def metrics(self) -> dict[str, Any]:
        """Return the counts and durations of Ollama's final object, and ours beside them."""
        fields: dict[str, Any] = {
            "done_reason": self.reason,
            "total_duration": self.total,
            "load_duration": self.load,
            "prompt_eval_count": self.prompt_tokens,
            "prompt_eval_duration": self.prompt_eval,
            "eval_count": self.output_tokens,
            "eval_duration": self.eval,
        }
        if self.cached_tokens is not None:
            fields["prompt_eval_cached_count"] = self.cached_tokens
        fields["hyperllama"] = {
            "first_token_duration": self.first_token,
            "queue_duration": self.queue,
            "truncated_tokens": self.truncated_tokens,
            "shifted_tokens": self.shifted_tokens,
            "context_length": self.context_length,
            "backend": self.backend,
            "structure": self.structure,
            "seed": self.seed,
            "ignored_options": list(self.ignored),
        }
        return fields
