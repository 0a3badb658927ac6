"""Reading an engine's log while the guard writes it."""

import os
from pathlib import Path


def tail(path: Path, lines: int) -> list[str]:
    """Return the last lines that are not empty; none if there is no log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 400 * lines - 4000))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.split("\n") if line.strip()][-lines:]


class LogReader:
    """Follows a log file that is replaced by its own last part when it has grown too long."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._inode = 0
        self._rest = b""

    def lines(self) -> list[str]:
        """Return the whole lines that came since the last call."""
        try:
            with self.path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode != self._inode:
                    self._inode, self._offset, self._rest = inode, 0, b""
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [line.decode(errors="replace") for line in whole]
