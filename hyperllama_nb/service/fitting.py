"""The prompt of a request: what the template is given, and how much of it fits."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hyperllama_nb.service.abilities import Insertion
from hyperllama_nb.service.ask import Ask
from hyperllama_nb.service.prompt import Fitted, Prompter

_NO_WORD = re.compile(r"[^A-Za-z0-9]")

CALL_ID = 9
"""Characters of a tool call's id: some templates refuse any other length."""


def fit(ask: Ask, prompter: Prompter, limit: int, insertion: Insertion | None = None) -> Fitted:
    """Return the token ids of the request's prompt, with room for an answer within `limit`.

    Raises PromptTooLongError, and RequestError where the template refuses the messages.
    """
    if ask.suffix and insertion is not None:
        return prompter.fit_insertion(
            insertion, ask.prompt, ask.suffix, limit, truncate=ask.truncate
        )
    if ask.messages is not None:
        return prompter.fit_chat(
            turns(ask),
            limit,
            tools=tools(ask),
            think=ask.think,
            truncate=ask.truncate,
            shift=ask.shift is not False,
        )
    return prompter.fit_prompt(
        ask.prompt,
        limit,
        system=system(ask),
        earlier=() if ask.raw or ask.context else ask.manifest.messages,
        raw=ask.raw,
        think=ask.think,
        context=ask.context,
        num_keep=ask.options.num_keep,
        truncate=ask.truncate,
    )


def render(ask: Ask, prompter: Prompter, insertion: Insertion | None = None) -> str:
    """Return the text of the request's prompt, as a person would read it."""
    if ask.suffix and insertion is not None:
        return insertion.prompt(ask.prompt, ask.suffix)
    if ask.raw:
        return ask.prompt
    given = turns(ask) if ask.messages is not None else _alone(ask)
    if ask.messages is None and not prompter.has_template:
        return "\n\n".join(turn["content"] for turn in given)
    return prompter.visible(prompter.render(given, tools=tools(ask), think=ask.think))


def tools(ask: Ask) -> Sequence[Mapping[str, Any]]:
    """Return the tools that the model is told of."""
    return () if ask.tool_choice == "none" else ask.tools


def turns(ask: Ask) -> list[dict[str, Any]]:
    """Return the messages for the template: the model's own, then the request's.

    The model's system message comes first unless the request begins with one. Tool results are
    paired with the calls before them, by name or else in order, since clients drop the ids.
    """
    asked = list(ask.messages or ())
    first = [asked.pop(0)] if asked and asked[0]["role"] == "system" else []
    if not first and ask.manifest.system:
        first = [{"role": "system", "content": ask.manifest.system}]
    given = [dict(turn) for turn in (*first, *ask.manifest.messages, *asked)]
    open_calls: list[dict[str, Any]] = []
    number = 0
    for turn in given:
        turn.pop("images", None)
        if thought := turn.pop("thinking", ""):
            # Two names are in use among templates.
            turn["thinking"] = turn["reasoning_content"] = thought
        if calls := turn.get("tool_calls"):
            turn["tool_calls"] = [dict(call) for call in calls]
            open_calls = list(turn["tool_calls"])
            for call in open_calls:
                call["given"] = call.get("id")
                call["id"] = _short(call.get("id") or f"call{number}")
                number += 1
        elif turn["role"] == "tool":
            _pair(turn, open_calls)
    for turn in given:
        for call in turn.get("tool_calls", ()):
            call.pop("given", None)
    return given


def system(ask: Ask) -> str | None:
    """Return the system prompt of a completion: the request's, or else the model's."""
    return ask.system or (None if ask.raw else ask.manifest.system)


def _alone(ask: Ask) -> list[dict[str, Any]]:
    text = system(ask)
    before = [{"role": "system", "content": text}] if text else []
    return [*before, *map(dict, ask.manifest.messages), {"role": "user", "content": ask.prompt}]


def _pair(turn: dict[str, Any], calls: list[dict[str, Any]]) -> None:
    """Give a tool's result the name and the id of its call, and take the call off the list."""
    wanted, name = turn.pop("tool_call_id", None), turn.get("tool_name")
    by_id = [call for call in calls if wanted and call["given"] == wanted]
    by_name = [call for call in calls if name and call["function"]["name"] == name]
    if found := next(iter(by_id or by_name or calls), None):
        calls.remove(found)
        turn["tool_call_id"] = found["id"]
        turn["name"] = name or found["function"]["name"]
    elif name:
        turn["name"] = name


def _short(text: str) -> str:
    """Return an id as the strictest templates want it."""
    return _NO_WORD.sub("", text)[-CALL_ID:].rjust(CALL_ID, "0")
