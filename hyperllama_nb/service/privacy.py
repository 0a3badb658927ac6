"""What the log may tell of a failure: where it happened, never what the caller sent."""

import logging
import traceback


def outline(error: BaseException) -> str:
    """Return the chain of an error as types and places; messages may hold prompts or keys.

    Only the reason that the operating system gives is told: it quotes nobody.
    """
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        reason = f": {current.strerror}" if isinstance(current, OSError) else ""
        parts.append(
            "".join(traceback.format_tb(current.__traceback__))
            + f"{type(current).__module__}.{type(current).__qualname__}{reason}"
        )
        hidden = current.__suppress_context__
        current = current.__cause__ or (None if hidden else current.__context__)
    return "\ncaused by\n".join(parts)


class _Outlines(logging.Filter):
    """Replaces the exception of a record, whose message quotes what arrived, by its outline.

    A client that went away is no error, and not told.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ConnectionError):
            return False
        if error is not None:
            record.msg, record.args = f"{record.getMessage()}\n{outline(error)}", None
            record.exc_info = record.exc_text = None
        return True


def http_log() -> logging.Logger:
    """Return the logger for the HTTP server, which would quote malformed requests."""
    log = logging.getLogger("hyperllama_nb.http")
    if not any(isinstance(found, _Outlines) for found in log.filters):
        log.addFilter(_Outlines())
    return log
