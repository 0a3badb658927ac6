"""A TCP address of the service that stays open as long as somebody holds it."""

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from hyperllama_nb.errors import HyperLlamaError

if TYPE_CHECKING:
    from hyperllama_nb.client import Client


class Listener:
    """Holds an address open; `close`, or the end of this process, closes it.

    Raises ConflictError, which names the owner, if another program has the port.
    """

    _kept: ClassVar[dict[str, "Listener"]] = {}

    def __init__(self, client: "Client", host: str, port: int) -> None:
        self._lines = client.serve(host, port)
        self.address: str = next(self._lines)["address"]

    def lines(self) -> Iterator[str]:
        """Yield the lines of the service's log as they are written, until the service ends."""
        for line in self._lines:
            yield str(line["log"])

    def keep(self) -> None:
        """Hold the address open in the background, until `close_all` or the end of this process."""
        self._kept[self.address] = self
        threading.Thread(target=self._drain, name="hyperllama-listener", daemon=True).start()

    def close(self) -> None:
        """Close the address."""
        self._lines.close()

    @classmethod
    def kept(cls) -> list[str]:
        """Return the addresses that are held open in the background."""
        return list(cls._kept)

    @classmethod
    def close_all(cls) -> list[str]:
        """Close what is kept in the background and return the addresses."""
        closed = list(cls._kept)
        while cls._kept:
            cls._kept.popitem()[1].close()
        return closed

    def _drain(self) -> None:
        # Unread lines would pile up; nobody looks at them in a notebook.
        try:
            for _ in self._lines:
                pass
        except HyperLlamaError:
            pass
        finally:
            self._kept.pop(self.address, None)
