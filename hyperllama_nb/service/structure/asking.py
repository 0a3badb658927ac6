"""The requests that fill one answer: their budget, their counts, and what the engine tells."""

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hyperllama_nb.engines.events import Event, TokenLogprob
from hyperllama_nb.errors import HyperLlamaError

if TYPE_CHECKING:
    from hyperllama_nb.service.running import RunningEngine

PATIENCE = 0.5
"""Seconds to wait for the engine's own end, and its count, after what was wanted has come."""

MOST_ALTERNATIVES = 20
_SEEDS, _STRIDE = 2**63 - 1, 1_000_003


class Asking:
    """An answer that is made by several requests to one engine.

    `text` is the answer so far, which each request gives back to the model behind the prompt.
    `made` counts the tokens that the engine has generated. `limit` is the most tokens that the
    answer may have, or that may be generated for it.
    """

    def __init__(
        self, engine: "RunningEngine", ids: Sequence[int], params: dict[str, Any], limit: int
    ) -> None:
        able = engine.backend.capabilities(engine.spec)
        self.text = ""
        self.made = 0
        self.limit = limit
        self.first: Event | None = None
        self.told: int | None = params.get("logprobs")
        self._engine, self._ids = engine, list(ids)
        self._params = {k: v for k, v in params.items() if k not in ("stop", "logprobs")}
        most = engine.backend.most_logprobs(engine.spec) if "logprobs" in able else 0
        self.alternatives = min(most, MOST_ALTERNATIVES)
        self._requests = 0
        seed = params.get("seed")
        self._seed = seed if isinstance(seed, int) else None
        self._random = random.Random(self._seed)  # noqa: S311  a model's choice is no secret
        self._heat = float(params.get("temperature", 0.0))

    def left(self, text: str | None = None) -> int:
        """Return how many tokens may still be generated behind `text`, by default the answer."""
        held = len(self._encode(self.text if text is None else text))
        return self.limit - max(held, self.made)

    async def stream(
        self,
        text: str,
        *,
        most: int,
        stop: Sequence[str] = (),
        logprobs: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Have the model continue `text` by at most `most` tokens; the last event has a reason.

        `extra` are further parameters. Closing the iterator ends the generation. Every request
        costs at least one token.
        """
        ids = [*self._ids, *self._encode(text)]
        params: dict[str, Any] = {**self._params, **(extra or {}), "max_tokens": most}
        if stop:
            params["stop"] = list(stop)
        if logprobs is not None:
            params["logprobs"] = logprobs
        if self._seed is not None:
            # With one seed for all, the same thing is drawn wherever the same may follow; and the
            # neighbouring seeds of a caller shall not lead to the same requests.
            params["seed"] = (self._seed - 1 + self._requests * _STRIDE) % _SEEDS + 1
        self._requests += 1
        chunks, counted = 0, None
        try:
            async with contextlib.aclosing(self._engine.complete(ids, params)) as events:
                async for event in events:
                    chunks += bool(event.text)
                    if event.reason:
                        counted = event.output_tokens
                        self.first = self.first or event
                    yield event
        finally:
            self.made += max(1, chunks if counted is None else counted)

    async def finish(self, events: AsyncGenerator[Event, None]) -> str:
        """Wait a moment for the end of a request that has given enough; return the text beyond."""
        rest = ""
        with contextlib.suppress(TimeoutError, HyperLlamaError):
            async with asyncio.timeout(PATIENCE):
                async for event in events:
                    rest += event.text
        return rest

    async def token(self, text: str) -> TokenLogprob | None:
        """Return the token that would follow `text`, with alternatives; None if none is told."""
        found: tuple[TokenLogprob, ...] = ()
        stream = self.stream(text, most=1, logprobs=self.alternatives)
        async with contextlib.aclosing(stream) as events:
            async for event in events:
                found += event.logprobs
        if not found:
            self.alternatives = 0  # it is not worth another request
        return found[0] if found else None

    async def words(self, text: str, *, most: int, stop: Sequence[str]) -> str:
        """Return a short continuation of `text`."""
        written = ""
        async with contextlib.aclosing(self.stream(text, most=most, stop=stop)) as events:
            async for event in events:
                written += event.text
        return written

    def token_ends(self, text: str) -> set[int]:
        """Return the places in `text`, as it stands behind a space, where a token ends."""
        prompter = self._engine.prompter
        ids = self._encode(f" {text}")
        begun = (prompter.decode(ids[:length]) for length in range(1, len(ids) + 1))
        return {len(one) - 1 for one in begun if one and f" {text}".startswith(one)}

    def draw(self, weighed: Sequence[tuple[str, float]]) -> str:
        """Return one of several things by their log-probabilities, at the answer's temperature."""
        best = max(weight for _, weight in weighed)
        if self._heat <= 0:
            return next(thing for thing, weight in weighed if weight == best)
        weights = [math.exp((weight - best) / self._heat) for _, weight in weighed]
        return self._random.choices([thing for thing, _ in weighed], weights)[0]

    async def decide(self, text: str, *branches: Callable[[str], bool]) -> int | None:
        """Return which branch the model takes behind `text`: the first that knows its next token.

        A branch is told a token's text without the spaces before it. None if no branch knows one.
        """

        def of(token: str) -> int | None:
            bare = token.lstrip()
            return next((i for i, knows in enumerate(branches) if bare and knows(bare)), None)

        if not self.alternatives:
            return of(await self.words(text, most=4, stop=()))
        token = await self.token(text)
        if token is None:
            return None
        sums: dict[str, float] = {}
        for written, logprob in token.top or ((token.token, token.logprob),):
            if (branch := of(written)) is not None:
                name = str(branch)
                sums[name] = _added(sums.get(name, -math.inf), logprob)
        return int(self.draw(list(sums.items()))) if sums else None

    def _encode(self, text: str) -> list[int]:
        # The text of an answer cannot forge a turn: special tokens in it are only text.
        return self._engine.prompter.encode(text, special=False)


def _added(one: float, other: float) -> float:
    """Return the logarithm of the sum of two probabilities, given as logarithms."""
    high, low = max(one, other), min(one, other)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
