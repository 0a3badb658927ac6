"""The `hyperllama` command."""

import os
import sys
from collections.abc import Sequence

from hyperllama_nb._version import __version__
from hyperllama_nb.commands import Context, UsageError, execute
from hyperllama_nb.errors import HyperLlamaError

FAILED, USAGE, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141
"""Exit codes, as shells know them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    0 after success, 1 after a failure, 2 for a line that does not follow the grammar, 130 after
    Ctrl-C, 141 when the reader of the output went away. `HYPERLLAMA_DEBUG=1` shows tracebacks.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["--version"], ["-V"]):
        arguments = []
        sys.stdout.write(f"hyperllama {__version__}\n")
        return 0
    try:
        execute(arguments, Context())
        sys.stdout.flush()
    except UsageError as error:
        return _fail(error, USAGE, *([error.usage] if error.usage else []))
    except HyperLlamaError as error:
        return _fail(error, FAILED)
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return INTERRUPTED
    except BrokenPipeError:
        # What is still buffered would raise again when the interpreter flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if _debug():
            raise
        return _fail(
            f"Unexpected {type(error).__name__}: {error}. "
            "HYPERLLAMA_DEBUG=1 shows where it happened.",
            FAILED,
        )
    return 0


def _fail(error: HyperLlamaError | str, code: int, *before: str) -> int:
    if _debug() and isinstance(error, BaseException):
        raise error
    sys.stderr.write("\n".join([*before, f"hyperllama: {error}"]) + "\n")
    return code


def _debug() -> bool:
    return os.environ.get("HYPERLLAMA_DEBUG", "") not in {"", "0"}
