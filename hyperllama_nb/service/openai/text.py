"""The answer of `/v1/completions`."""

from collections.abc import Sequence
from typing import Any

from hyperllama_nb.service.ask import Outcome, Piece
from hyperllama_nb.service.openai.answer import Answer, quoted, told
from hyperllama_nb.service.openai.fields import Form


class Text(Answer):
    """Texts that continue a prompt; `echoes` are put before them, one for each answer."""

    prefix, whole_kind, chunk_kind = "cmpl", "text_completion", "text_completion"

    def __init__(self, model: str, form: Form, echoes: Sequence[str]) -> None:
        super().__init__(model, form)
        self._echoes = list(echoes)
        self._offsets = [0] * len(self._echoes)

    def choices(self, index: int, piece: Piece) -> list[str]:
        """Return a choice with the piece's text."""
        text = self._echoed(index, piece)
        if not piece.logprobs:
            return [f'{{"index":{index},"text":{quoted(text)},"finish_reason":null}}']
        choice = {"index": index, "text": text, "finish_reason": None}
        choice["logprobs"] = self._logprobs(index, piece)
        return [quoted(choice)]

    def end(self, index: int, outcome: Outcome) -> list[str]:
        """Return a choice with the reason, and the echo if nothing came after it."""
        text = self._echoed(index, Piece())
        last = {"index": index, "text": text, "finish_reason": outcome.reason}
        return [quoted({**last, "hyperllama": told(outcome)})]

    def choice(self, index: int, outcome: Outcome) -> dict[str, Any]:
        """Return the whole text."""
        piece = outcome.whole
        found = {
            "index": index,
            "text": self._echoed(index, piece),
            "finish_reason": outcome.reason,
            "logprobs": self._logprobs(index, piece) if piece.logprobs else None,
        }
        return {**found, "hyperllama": told(outcome)}

    def _echoed(self, index: int, piece: Piece) -> str:
        """Return the piece's text, after the echo if that has not been told yet."""
        text = self._echoes[index] + piece.text
        self._echoes[index] = ""
        return text

    def _logprobs(self, index: int, piece: Piece) -> dict[str, Any]:
        """Return log-probabilities as completions tell them; offsets are in characters."""
        offsets = []
        for token in piece.logprobs:
            offsets.append(self._offsets[index])
            self._offsets[index] += len(token.token)
        return {
            "tokens": [token.token for token in piece.logprobs],
            "token_logprobs": [token.logprob for token in piece.logprobs],
            "top_logprobs": [dict(token.top) for token in piece.logprobs],
            "text_offset": offsets,
        }
