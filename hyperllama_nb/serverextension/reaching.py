"""The way from the Jupyter server to the user's service, which the first request starts."""

import asyncio
from pathlib import Path

from hyperllama_nb import runtime
from hyperllama_nb.client._start import open_lease
from hyperllama_nb.errors import HyperLlamaError, ServiceError
from hyperllama_nb.serverextension import metrics
from hyperllama_nb.serverextension.passing import Exchange


class Way:
    """Opens exchanges with the service and knows those that are open."""

    def __init__(self) -> None:
        self._open: set[Exchange] = set()
        self._reaching = 0
        self._starting: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Tell whether a request is on its way."""
        return bool(self._open or self._reaching)

    async def open(self) -> Exchange:
        """Begin an exchange, starting the service if none answers.

        Raises ServiceError, with the reason in words, if it cannot be reached or started.
        """
        self._reaching += 1
        try:
            path = runtime.socket_path()
            try:
                exchange = await Exchange.open(path)
            except (FileNotFoundError, ConnectionError):
                await self._start(path)
                exchange = await Exchange.open(path)
        except OSError as error:
            raise ServiceError(
                f"The engine service cannot be reached ({error.strerror or error}). "
                "`hyperllama status` and `hyperllama logs` may tell why."
            ) from error
        finally:
            self._reaching -= 1
        self._open.add(exchange)
        metrics.OPEN.inc()
        return exchange

    def close(self, exchange: Exchange) -> None:
        """End an exchange; one that is under way is cancelled."""
        exchange.close()
        if exchange in self._open:
            self._open.remove(exchange)
            metrics.OPEN.dec()

    def close_all(self) -> None:
        """End all exchanges; the service goes on."""
        for exchange in list(self._open):
            self.close(exchange)

    async def _start(self, path: Path) -> None:
        """Start the service, once for all who wait; raises ServiceError if it does not start."""
        if self._starting is None or self._starting.done():
            # The start waits for another process, the event loop must not.
            self._starting = asyncio.create_task(asyncio.to_thread(_start, path))
        try:
            await asyncio.shield(self._starting)
        except ServiceError:
            raise
        except (HyperLlamaError, OSError) as error:
            raise ServiceError(f"The engine service cannot be started: {error}") from error


def _start(path: Path) -> None:
    # A new service waits for its first request, so that the lease may end here.
    open_lease(path, start=True, kind="jupyter").sock.close()
