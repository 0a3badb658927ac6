"""The answer of `/v1/chat/completions`."""

import json
from collections.abc import Sequence
from typing import Any

from hyperllama_nb.engines.events import TokenLogprob
from hyperllama_nb.service.ask import Outcome, Piece
from hyperllama_nb.service.openai.answer import Answer, quoted, told
from hyperllama_nb.service.openai.fields import Form
from hyperllama_nb.service.parsing import ToolCall
from hyperllama_nb.service.wire import valued


class Chat(Answer):
    """Messages of an assistant.

    `number` is how many answers there are. Thinking is told under `reasoning`, a tool call whole,
    in a part of its own. With `parallel_calls` false, an answer has one call at most.
    """

    prefix, whole_kind, chunk_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, model: str, form: Form, number: int, *, parallel_calls: bool = True) -> None:
        super().__init__(model, form)
        self._most_calls = None if parallel_calls else 1
        self._calls = [0] * number
        self._begun = [False] * number
        self._text = [f'{{"index":{index},"delta":{{"content":' for index in range(number)]

    def choices(self, index: int, piece: Piece) -> list[str]:
        """Return a choice for the thinking, one for the text, one for the calls."""
        if self._begun[index] and not (piece.thinking or piece.tool_calls or piece.logprobs):
            # Nearly every token comes this way.
            return [f'{self._text[index]}{quoted(piece.text)}}},"finish_reason":null}}']
        calls = self._called(index, piece.tool_calls)
        deltas: list[dict[str, Any]] = []
        if piece.thinking:
            deltas.append({"content": "", "reasoning": piece.thinking})
        if piece.text or (piece.logprobs and not calls and not deltas):
            deltas.append({"content": piece.text})
        if calls:
            deltas.append({"content": "", "tool_calls": calls})
        found = [self._delta(index, delta) for delta in deltas]
        if found and piece.logprobs:
            found[-1]["logprobs"] = logprobs_of(piece.logprobs)
        return [quoted(choice) for choice in found]

    def end(self, index: int, outcome: Outcome) -> list[str]:
        """Return a choice with the reason alone, after one with the role if nothing was said."""
        begun = [] if self._begun[index] else [self._delta(index, {"content": ""})]
        reason = _reason(outcome, called=bool(self._calls[index]))
        last = {"index": index, "delta": {}, "finish_reason": reason, "hyperllama": told(outcome)}
        return [quoted(choice) for choice in [*begun, last]]

    def choice(self, index: int, outcome: Outcome) -> dict[str, Any]:
        """Return the whole message."""
        message: dict[str, Any] = {"role": "assistant", "content": outcome.text}
        if outcome.thinking:
            message["reasoning"] = outcome.thinking
        calls = self._called(index, outcome.tool_calls)
        if calls:
            message["tool_calls"] = calls
        reason = _reason(outcome, called=bool(calls))
        choice = {"index": index, "message": message, "finish_reason": reason}
        if outcome.logprobs:
            choice["logprobs"] = logprobs_of(outcome.logprobs)
        return {**choice, "hyperllama": told(outcome)}

    def _delta(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        """Return a part; the first one tells the role."""
        role = {} if self._begun[index] else {"role": "assistant"}
        self._begun[index] = True
        return {"index": index, "delta": {**role, **delta}, "finish_reason": None}

    def _called(self, index: int, calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
        """Return the calls that are told, numbered through the whole answer."""
        begun = self._calls[index]
        kept = calls if self._most_calls is None else calls[: max(0, self._most_calls - begun)]
        self._calls[index] += len(kept)
        return [
            {
                "index": number,
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": json.dumps(call.arguments, ensure_ascii=False),
                },
            }
            for number, call in enumerate(kept, begun)
        ]


def logprobs_of(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    """Return log-probabilities as chats tell them."""
    content = [
        {
            **valued(token.token, token.logprob),
            "top_logprobs": [valued(text, value) for text, value in token.top],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _reason(outcome: Outcome, *, called: bool) -> str:
    return "tool_calls" if called and outcome.reason == "stop" else outcome.reason
