"""The way from the Jupyter server to the user's service, which the first request starts."""

import asyncio
from pathlib import Path

from hyperllama_nb import runtime
from hyperllama_nb.client._start import Lease, open_lease
from hyperllama_nb.errors import HyperLlamaError, ServiceError
from hyperllama_nb.serverextension import metrics
from hyperllama_nb.serverextension.passing import Exchange


class Way:
    """Opens exchanges with the service and knows those that are open."""

    def __init__(self) -> None:
        self._open: set[Exchange] = set()
        self._reaching = 0
        self._starting: asyncio.Task[Lease] | None = None
        self._lease: Lease | None = None

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
            self._open.add(exchange)
        except OSError as error:
            raise ServiceError(
                f"The engine service cannot be reached ({error.strerror or error}). "
                "`hyperllama status` and `hyperllama logs` may tell why."
            ) from error
        finally:
            self._reaching -= 1
            self._leave()
        metrics.OPEN.inc()
        return exchange

    def close(self, exchange: Exchange) -> None:
        """End an exchange; one that is under way is cancelled."""
        exchange.close()
        if exchange in self._open:
            self._open.remove(exchange)
            metrics.OPEN.dec()
        self._leave()

    def close_all(self) -> None:
        """End all exchanges; the service goes on."""
        for exchange in list(self._open):
            self.close(exchange)
        if self._starting is not None:
            self._starting.add_done_callback(lambda _: self._leave())

    async def _start(self, path: Path) -> None:
        """Start the service, once for all who wait, and hold a lease until their exchanges end.

        Without the lease a service that does not linger would be gone before it is asked.
        """
        if self._starting is None or self._starting.done():
            starting = asyncio.to_thread(open_lease, path, start=True, kind="jupyter")
            self._starting = asyncio.create_task(starting)
        try:
            lease = await asyncio.shield(self._starting)
        except ServiceError:
            raise
        except (HyperLlamaError, OSError) as error:
            raise ServiceError(f"The engine service cannot be started: {error}") from error
        if lease is not self._lease:
            self._drop()
            self._lease = lease

    def _leave(self) -> None:
        if not self.busy:
            self._drop()

    def _drop(self) -> None:
        if self._lease is not None:
            self._lease.sock.close()
            self._lease = None
