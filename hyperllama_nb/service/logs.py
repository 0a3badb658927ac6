"""The service's log: standard error, which is a file that is kept from growing for ever."""

import contextlib
import fcntl
import logging
import os
import shutil
from pathlib import Path

from hyperllama_nb.service.requests import FORMAT, RequestIds

LIMIT = 8 << 20
"""Bytes after which the log is emptied; what it had is then in `….old`."""


class Log(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to standard error, with the id of the request on each line."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.addFilter(RequestIds())
        self.setFormatter(logging.Formatter(FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line; where the log has become too long, begin it anew."""
        super().emit(record)
        # Standard error may be a terminal, a pipe, or closed.
        with contextlib.suppress(OSError, ValueError):
            self._begin_anew(self.stream.fileno())

    def _begin_anew(self, fd: int) -> None:
        """Empty the file in place: whoever else writes to it has it open, too."""
        status = os.fstat(fd)
        if status.st_size < LIMIT or not os.path.samestat(status, self._path.stat()):
            return
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND:
            shutil.copyfile(self._path, self._path.with_name(self._path.name + ".old"))
            os.ftruncate(fd, 0)
