"""Why an engine ended: from an exit code and the last lines of a log to a cause and a next step."""

import re
from collections.abc import Mapping, Sequence

_ANSI = re.compile(r"\x1b\[[0-9;]*m")

_TELLING = re.compile(r"\bERROR\b|^\w*(\.\w+)*(Error|Exception)\b")
_MOST_ERRORS = 3
_LAST = 5


def explain(
    log_tail: Sequence[str],
    returncode: int | None,
    *,
    by_words: Mapping[str, str],
    by_signal: Mapping[int, str],
) -> str:
    """Return the cause, the next step, and the lines of the log that say most.

    `by_words` has a sentence for each pattern that may occur in the log, `by_signal` for each
    signal that may have ended the process.
    """
    lines = [_ANSI.sub("", line).rstrip() for line in log_tail]
    text = "\n".join(lines)
    found = (says for words, says in by_words.items() if re.search(words, text, re.IGNORECASE))
    cause = next(found, None) or by_signal.get(_signal(returncode) or 0)
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
