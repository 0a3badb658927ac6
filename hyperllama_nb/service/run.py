"""One generation in one engine: its prompt, its parameters, and the parsing of what comes back."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator
from typing import Any, Self

from hyperllama_nb.engines.events import Event
from hyperllama_nb.engines.sampling import sampling
from hyperllama_nb.errors import HyperLlamaError, RequestError
from hyperllama_nb.service import structure
from hyperllama_nb.service.abilities import Insertion
from hyperllama_nb.service.ask import Ask, Outcome, Piece
from hyperllama_nb.service.decode import until_stop
from hyperllama_nb.service.fitting import fit, tools
from hyperllama_nb.service.parsing import OutputParser, Parsed
from hyperllama_nb.service.parsing.tools import parser_for
from hyperllama_nb.service.running import RunningEngine
from hyperllama_nb.service.shift import shifting
from hyperllama_nb.service.structure.calls import call_of, forced

LONG_PROMPT = 4_000
"""Characters above which tokenising leaves the event loop, so that other streams keep flowing."""

MOST_ROUNDS = 10
"""Contexts that an answer which may outgrow its context fills at most, as in Ollama."""

OPEN, CLOSE = "<think>", "</think>"


class Run:
    """What `generate` needs of one request once its engine is there; made by `prepare`."""

    def __init__(self, engine: RunningEngine, ask: Ask) -> None:
        self.engine, self.ask = engine, ask
        able = engine.backend.capabilities(engine.spec)
        self.call = forced(tools(ask), ask.tool_choice)
        self._called = ""
        self.form = ask.format if self.call is None else self.call
        self.mode = None if self.form is None else structure.plan(self.form, able)
        self.thinks = (
            not ask.raw and ask.think is not False and "thinking" in ask.manifest.capabilities
        )
        self.outcome = Outcome(
            prompt=[],
            context_length=min(ask.options.num_ctx or engine.spec.context, engine.spec.context),
            backend=engine.backend.name,
            structure=self.mode,
            ignored=(*ask.options.ignored, *self._without_effect()),
        )
        self.params: dict[str, Any] = sampling(ask.options.values)
        self.outcome.seed = self.params.get("seed")
        self._check_logprobs(able)
        self._check_endless(able)

    @classmethod
    async def prepare(cls, engine: RunningEngine, ask: Ask, form: Insertion | None) -> Self:
        """Return a run whose prompt is fitted.

        Raises RequestError for what the engine's backend cannot do, PromptTooLongError.
        """
        run = cls(engine, ask)
        context = run.outcome.context_length
        if ask.size > LONG_PROMPT:
            fitted = await asyncio.to_thread(fit, ask, engine.prompter, context, form)
        else:
            fitted = fit(ask, engine.prompter, context, form)
        run.outcome.prompt = fitted.ids
        run.outcome.prompt_tokens = len(fitted.ids)
        run.outcome.truncated_tokens = fitted.truncated
        return run

    @property
    def limit(self) -> int:
        """Return the most tokens to generate; beyond the context only where that was asked for."""
        room = self.outcome.context_length - len(self.outcome.prompt)
        wanted = self.ask.options.num_predict
        if self.ask.shift and self.mode is None and room > 0:
            most = MOST_ROUNDS * self.outcome.context_length
            return most if wanted is None else min(wanted, most)
        return room if wanted is None else min(wanted, room)

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """Yield what the engine makes, parsed; an empty piece for a token that shows nothing yet.

        What has been held back is yielded before an error leaves.
        """
        parser = self._parser()
        try:
            async with contextlib.aclosing(self._events()) as events:
                async for event in events:
                    self._note(event)
                    yield self._piece(parser.feed(event.text), event)
        except HyperLlamaError:
            yield self._piece(parser.flush(), Event())
            raise
        yield self._piece(parser.flush(), Event())
        if self.call is not None:
            yield Piece(tool_calls=(call_of(self._called, self.outcome.reason),))

    def _parser(self) -> OutputParser:
        """Return what tells thinking, tool calls and text apart."""
        tail = self.engine.prompter.decode(self.outcome.prompt[-8:]).rstrip()
        return OutputParser(
            "" if self.ask.raw else self.engine.prompter.template_source or "",
            tools=bool(tools(self.ask)) and self.mode is None,
            think=self.thinks,
            begun_thinking=self.thinks and tail.endswith(OPEN),
        )

    def _without_effect(self) -> tuple[str, ...]:
        """Return the options that a form has no use for: stop strings would leave half of it."""
        given = "stop" in self.ask.options.given and "stop" not in self.ask.manifest.options
        return ("stop",) if given and self.mode is not None else ()

    def _piece(self, parsed: Parsed, event: Event) -> Piece:
        """Return a piece with as many alternatives of its tokens as were asked for.

        The text of a call that was demanded is kept until it is whole.
        """
        if self.call is not None:
            self._called += parsed.text
            parsed = parsed._replace(text="")
        most = self.ask.logprobs
        if most is None or not event.logprobs:
            return Piece(*parsed)
        told = (dataclasses.replace(token, top=token.top[:most]) for token in event.logprobs)
        return Piece(*parsed, tuple(told))

    def _note(self, event: Event) -> None:
        if event.reason:
            self.outcome.reason = event.reason
        if event.cached_tokens is not None:
            # none is a count, too: what was read anew is known only with it
            self.outcome.cached_tokens = event.cached_tokens
        self.outcome.output_tokens = event.output_tokens or self.outcome.output_tokens

    def _events(self) -> AsyncGenerator[Event, None]:
        prompter, ask = self.engine.prompter, self.ask
        params = {**self.params, "max_tokens": self.limit}
        if ask.logprobs is not None:
            params["logprobs"] = ask.logprobs
        if self.mode is not None:
            return self._structured(params, self.mode)
        context = self.outcome.context_length
        if len(self.outcome.prompt) + self.limit <= context:
            events = self.engine.complete(self.outcome.prompt, params)
        else:
            events = shifting(
                self.engine.complete,
                self.outcome.prompt,
                params,
                wanted=self.limit,
                context=context,
                keep=ask.options.num_keep,
                encode=prompter.encode,
                dropped=self._dropped,
            )
        return until_stop(events, ask.options.stop, count=lambda text: len(prompter.encode(text)))

    def _dropped(self, tokens: int) -> None:
        self.outcome.shifted_tokens += tokens

    async def _structured(self, params: dict[str, Any], mode: str) -> AsyncGenerator[Event, None]:
        """Let a model that thinks do so freely, then answer in the form that was asked for."""
        ids, made = self.outcome.prompt, 0
        template = self.engine.prompter.template_source or ""
        # What the model writes before a call; it is not shown.
        marker = "" if self.call is None else parser_for(template).opening
        if self.thinks:
            begun = self.engine.prompter.decode(ids[-8:]).rstrip().endswith(OPEN)
            opening = "" if begun else f"{OPEN}\n"
            if opening:
                yield Event(opening)
            ids = [*ids, *self.engine.prompter.encode(opening)]
            thought = opening
            events = until_stop(
                self.engine.complete(ids, {**params, "stop": [CLOSE]}),
                (CLOSE,),
                count=lambda text: len(self.engine.prompter.encode(text)),
            )
            async with contextlib.aclosing(events):
                async for event in events:
                    thought += event.text
                    made = event.output_tokens or made
                    yield Event(event.text, logprobs=event.logprobs)
            yield Event(f"{CLOSE}\n\n")
            ids = [*self.outcome.prompt, *self.engine.prompter.encode(f"{thought}{CLOSE}\n\n")]
        ids = [*ids, *self.engine.prompter.encode(marker)]
        room = self.outcome.context_length - len(ids)
        limit = min(params["max_tokens"] - made, room)
        found = structure.structured(self.engine, ids, self.form, params, limit, mode)
        async with contextlib.aclosing(found):
            async for event in found:
                if event.output_tokens:
                    event.output_tokens += made
                yield event

    def _check_logprobs(self, able: frozenset[str]) -> None:
        """Raise RequestError where the engine cannot tell what is asked for."""
        wanted = self.ask.logprobs
        if wanted is None:
            return
        backend = self.engine.backend
        if "logprobs" not in able:
            raise RequestError(
                f"The backend {backend.name} does not tell log-probabilities on this device. Leave "
                "`logprobs` out, or choose another one with the option `backend`."
            )
        most = backend.most_logprobs(self.engine.spec)
        if wanted > most:
            raise RequestError(
                f"The backend {backend.name} tells up to {most} alternatives for a token, and "
                f"`top_logprobs` asks for {wanted}. Ask for {most}, or choose another backend."
            )

    def _check_endless(self, able: frozenset[str]) -> None:
        """Raise RequestError where an answer cannot go on after its end."""
        if not self.ask.options.ignore_eos:
            return
        if self.mode is not None:
            raise RequestError(
                "An answer with a `format`, or a call that `tool_choice` demands, is at its end "
                "where it is complete. Leave the option `ignore_eos` out."
            )
        if "ignore_eos" not in able:
            raise RequestError(
                f"The backend {self.engine.backend.name} cannot go on after the model's end of a "
                "text. Leave the option `ignore_eos` out, or choose another one with the option "
                "`backend`."
            )
