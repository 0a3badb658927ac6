"""End a program that a source has started."""

import subprocess
from typing import Any

_GRACE = 0.5
"""Seconds to leave in peace: a cancelled pull answers within a second."""


def end(process: subprocess.Popen[Any]) -> None:
    """Ask the program to end, insist after a moment, and collect its status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
