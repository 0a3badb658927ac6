"""Hosting the service: the lock, the socket, a process's main or a thread of a kernel."""

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable

from aiohttp import web

from hyperllama_nb.access.limits import MAX_HEADER_BYTES
from hyperllama_nb.engines.base import Backend
from hyperllama_nb.errors import ConflictError, HyperLlamaError, ServiceError
from hyperllama_nb.runtime import engines_dir, lock_path, log_path, socket_path
from hyperllama_nb.service.app import build_app
from hyperllama_nb.service.config import HyperLlamaService
from hyperllama_nb.service.logs import Log
from hyperllama_nb.service.privacy import http_log
from hyperllama_nb.service.service import Service

log = logging.getLogger(__name__)

SHUTDOWN = 2.0
"""Seconds that open connections get to end once the service stops."""

Backends = dict[str, Backend]


class _Lock:
    """The exclusive lock that the running service holds for its whole life."""

    def __init__(self) -> None:
        self._fd = os.open(lock_path(), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise ConflictError(
                "A service of yours already runs. Use it as it is, or end it with `%llm stop` "
                "(`hyperllama stop`) and try again."
            ) from None
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        # A forked child shares the lock: it would hold it after the service has gone.
        self.release()

    def release(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


async def run(service: Service, ready: Callable[[], None] = lambda: None) -> None:
    """Serve on the Unix socket until the service is told to stop; the caller holds the lock."""
    path = socket_path()
    # Whoever holds the lock may clear away what a killed predecessor left.
    path.unlink(missing_ok=True)
    for left in engines_dir().iterdir():
        shutil.rmtree(left, ignore_errors=True)
    runner = web.AppRunner(
        build_app(service),
        handler_cancellation=True,  # a client that goes frees its engine's slot
        access_log=None,
        logger=http_log(),
        shutdown_timeout=SHUTDOWN,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
    )
    await runner.setup()
    service.runner = runner
    site = web.UnixSite(runner, path)
    await site.start()
    path.chmod(0o600)
    service.start()
    log.info("listening on %s", path)
    ready()
    try:
        await service.stopping.wait()
    finally:
        path.unlink(missing_ok=True)
        await service.close()
        await runner.cleanup()
        log.info("stopped")


def main(backends: Backends | None = None) -> int:
    """Run the service in this process; returns at once if another one already runs."""
    logging.basicConfig(level=logging.INFO, handlers=[Log(log_path())])
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        lock = _Lock()
    except ConflictError:
        return 0

    async def serve() -> None:
        service = Service(backends=backends)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, service.stopping.set)
        await run(service)

    try:
        asyncio.run(serve())
    except HyperLlamaError as error:
        log.error("%s", error)  # noqa: TRY400  the message is written for users
        return 1
    finally:
        lock.release()
    return 0


class ThreadHost:
    """A service that lives in a thread of this process."""

    def __init__(
        self, settings: HyperLlamaService | None = None, backends: Backends | None = None
    ) -> None:
        self._settings, self._backends = settings, backends
        self._lock = _Lock()
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.service: Service | None = None
        self._thread = threading.Thread(target=self._main, name="hyperllama-service", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise ServiceError(
                f"The service could not start in this kernel: {self._error}"
            ) from self._error

    def _main(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            self.service = Service(host="kernel", settings=self._settings, backends=self._backends)
            await run(self.service, self._ready.set)

        try:
            asyncio.run(serve())
        except BaseException as error:
            self._error = error
            log.exception("the service in this kernel ended")
        finally:
            self._lock.release()
            self._ready.set()

    def stop(self, timeout: float = 30.0) -> None:
        """End the service and its engines; returns when they are gone."""
        if self._loop is not None and self.service is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.service.stopping.set)
        self._thread.join(timeout)


def start_in_thread(
    settings: HyperLlamaService | None = None, backends: Backends | None = None
) -> ThreadHost:
    """Host the service in a thread of this process; its engines end with the process.

    Raises ConflictError if a service of this user already runs.
    """
    return ThreadHost(settings, backends)
