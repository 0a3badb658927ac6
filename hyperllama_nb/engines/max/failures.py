"""Why MAX ended: from an exit code and the last lines of a log to a cause and a next step."""

import re
from collections.abc import Sequence

_ANSI = re.compile(r"\x1b\[[0-9;]*m")

_BY_CODE = {
    4: "the processor lacks an instruction that MAX compiled for. MAX does not support this "
    "machine's CPU; on a virtual machine, pass the host's CPU features through.",
    9: "the system killed it, which is what happens when the memory is used up. Unload other "
    "models (`hyperllama ps`), lower num_ctx or OLLAMA_NUM_PARALLEL, or take a smaller model.",
    11: "it crashed (segmentation fault). If this machine has a GPU, check its driver; otherwise "
    "run `hyperllama status` and report the log.",
}

_MEMORY = (
    "its memory did not suffice. Unload other models (`hyperllama ps`), lower num_ctx or "
    "OLLAMA_NUM_PARALLEL, or take a smaller model."
)
_ADDRESS = "its address was taken. Run it again."
_ARCHITECTURE = "MAX does not know this model's architecture. Choose another model."
_ENCODING = "MAX cannot run its weights' type on this device. Pull the model in another one."
_COMMAND = (
    "MAX does not take its command line. This package works with MAX 26.7; `hyperllama status` "
    "shows the one in use."
)

_BY_WORDS = {
    r"out of memory|cannot allocate memory|MemoryError|insufficient memory": _MEMORY,
    r"Worker crashed \(Killed": _BY_CODE[9],
    r"Worker crashed \(Segmentation fault": _BY_CODE[11],
    r"Illegal instruction": _BY_CODE[4],
    r"No space left on device": "the disk is full. Free some space, then run it again.",
    r"network port \d+ is already in use|address already in use": _ADDRESS,
    r"AF_UNIX path too long": "its socket's path is too long. Set HYPERLLAMA_RUNTIME_DIR.",
    r"architecture.{0,60}not (supported|found)|not supported.{0,60}architecture": _ARCHITECTURE,
    r"different dtype|not compatible with device|Unknown GGML DType": _ENCODING,
    r"compatible weights cannot be found|encoding.{0,60}not supported": _ENCODING,
    r"No such option|Error: Invalid value": _COMMAND,
}

_TELLING = re.compile(r"\bERROR\b|^\w*(\.\w+)*(Error|Exception)\b")
_MOST_ERRORS = 3
_LAST = 5


def explain(log_tail: Sequence[str], returncode: int | None) -> str:
    """Return the cause, the next step, and the lines of the log that say most."""
    lines = [_ANSI.sub("", line).rstrip() for line in log_tail]
    text = "\n".join(lines)
    found = (says for words, says in _BY_WORDS.items() if re.search(words, text, re.IGNORECASE))
    cause = next(found, None) or _BY_CODE.get(_signal(returncode) or 0)
    if cause is None:
        ended = "it ended" if returncode is None else f"it ended with code {returncode}"
        cause = f"{ended}. Run it again; if it ends again, its log says more."
    words = _last_words(lines)
    return f"{cause} Its last words:\n{words}" if words else f"{cause} It left no log."


def _last_words(lines: Sequence[str]) -> str:
    """Return the last lines, and the last errors before them: a traceback pushes them up."""
    errors = [n for n, line in enumerate(lines) if _TELLING.search(line)][-_MOST_ERRORS:]
    last = range(max(0, len(lines) - _LAST), len(lines))
    return "\n".join(lines[n] for n in sorted({*errors, *last}))


def _signal(returncode: int | None) -> int | None:
    """Return the signal that ended a process, also where a shell reported it as 128 + n."""
    if returncode is None:
        return None
    return -returncode if returncode < 0 else returncode - 128 if returncode > 128 else None
