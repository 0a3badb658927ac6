"""Asking a target and noting when what came: one request, at little cost, on either wire."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hyperllama_nb.bench.records import Prompt, Status, Target
from hyperllama_nb.bench.way import Way
from hyperllama_nb.engines.connection import Connection
from hyperllama_nb.engines.http import Body, Head, read_head

_OPENAI = {"repeat_penalty": "repetition_penalty"}
"""Options that engines behind OpenAI's wire call otherwise; the rest has Ollama's names."""

_LOADING = frozenset({"num_ctx", "num_keep", "num_batch", "num_gpu", "num_thread", "repeat_last_n"})
"""Options that OpenAI's wire does not carry: they are chosen where that server is started."""

_LONGEST_ERROR = 500

_decode = json.JSONDecoder().raw_decode


@dataclass(slots=True)
class Answer:
    """What came of one request; times are those of `time.perf_counter`, counts the server's."""

    sent: float = 0.0
    texts: list[float] = field(default_factory=list)
    finished: float = 0.0
    status: Status = "incomplete"
    error: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None


def body(target: Target, prompt: Prompt) -> bytes:
    """Return the request in the target's words; sampling is greedy unless its options say else.

    The prompt is sent as it is, without a chat template, so that each target reads the same text.
    """
    options = {"temperature": 0, **target.options}
    if target.kind == "openai":
        fields = {
            "model": target.model,
            "prompt": prompt.text if prompt.ids is None else list(prompt.ids),
            "max_tokens": prompt.asked_output,
            "stream": True,
            "stream_options": {"include_usage": True},
            **{
                _OPENAI.get(name, name): value
                for name, value in options.items()
                if name not in _LOADING
            },
        }
    else:
        options["num_predict"] = prompt.asked_output
        if target.kind == "service" and target.backend is not None:
            options["backend"] = target.backend
        fields = {
            "model": target.model,
            "prompt": prompt.text,
            "raw": True,
            "stream": True,
            "options": options,
        }
    return json.dumps(fields).encode()


async def ask(way: Way, target: Target, data: bytes, answer: Answer, patience: float) -> None:
    """Send a request on a new connection and note in `answer` what comes, until its end.

    Every failure is an answer too: it has `failed` and the reason. So has what takes longer than
    `patience` seconds. A cancellation leaves `incomplete` and is raised on.
    """
    answer.sent = time.perf_counter()
    try:
        async with asyncio.timeout(patience):
            await _exchange(way, target, data, answer)
        answer.status = "succeeded"
    except TimeoutError:
        _fail(answer, f"no end of the answer within {patience:g} s")
    except OSError as error:
        _fail(answer, f"no connection: {error.strerror or error}")
    except EOFError:
        _fail(answer, "the server closed the connection before the end of the answer")
    except ValueError as error:
        _fail(answer, str(error))
    except asyncio.CancelledError:
        answer.error = "cut off by the end of the run"
        raise
    finally:
        answer.finished = time.perf_counter()


async def _exchange(way: Way, target: Target, data: bytes, answer: Answer) -> None:
    connection = await way.open()
    note: Callable[[bytes, Answer, float], bool] = _frame if target.kind == "openai" else _line
    try:
        connection.write(b"%bContent-Length: %d\r\n\r\n%b" % (way.head, len(data), data))
        head = await read_head(connection)
        if head.status != 200:
            raise ValueError(f"status {head.status}: {_message(await _rest(connection, head))}")
        content = Body(head)
        while not content.done:
            received = await connection.read()
            at = connection.arrived
            for line in content.feed(received):
                if note(line, answer, at):
                    return
            if not received:
                break
        if content.rest and note(content.rest, answer, connection.arrived):
            return
        raise EOFError
    finally:
        connection.cut()


def _line(line: bytes, answer: Answer, at: float) -> bool:
    """Note a line of Ollama's stream; tell whether it is the last one."""
    if not line.strip():
        return False
    part = _object(line)
    if part.get("error"):
        raise ValueError(_message(line))
    if part.get("response") or part.get("thinking"):
        answer.texts.append(at)
    if not part.get("done"):
        return False
    answer.prompt_tokens = part.get("prompt_eval_count")
    answer.cached_tokens = part.get("prompt_eval_cached_count")
    answer.output_tokens = part.get("eval_count")
    return True


def _frame(line: bytes, answer: Answer, at: float) -> bool:
    """Note a line of OpenAI's stream; tell whether it is the last one."""
    if not line.startswith(b"data:"):
        return False
    payload = line[5:].strip()
    if payload == b"[DONE]":
        return True
    part = _object(payload)
    if part.get("error"):
        raise ValueError(_message(payload))
    choices = part.get("choices")
    if choices and choices[0].get("text"):
        answer.texts.append(at)
    usage = part.get("usage")
    if usage:
        answer.prompt_tokens = usage.get("prompt_tokens")
        answer.output_tokens = usage.get("completion_tokens")
        answer.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    return False


def _object(data: bytes) -> dict[str, Any]:
    # Not `loads`, which looks for other encodings first, once for each token.
    try:
        found, _ = _decode(data.decode().strip())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"the server sent what is no JSON object: {data[:80]!r}")  # noqa: TRY004
    return found


async def _rest(connection: Connection, head: Head) -> bytes:
    content = Body(head)
    lines: list[bytes] = []
    while not content.done:
        received = await connection.read()
        lines += content.feed(received)
        if not received:
            break
    return b"\n".join([*lines, content.rest])


def _message(data: bytes) -> str:
    """Return the sentence in an error: Ollama's, OpenAI's envelope, or plain text."""
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    while isinstance(found, Mapping):
        found = found.get("error") or found.get("message") or found.get("detail")
    text = str(found) if found else data.decode(errors="replace").strip()
    return text[:_LONGEST_ERROR] or "no reason given"


def _fail(answer: Answer, error: str) -> None:
    answer.status, answer.error = "failed", error
