"""A stand-in for the service: chosen routes on its Unix socket."""

import asyncio
import inspect
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from hyperllama_nb import runtime


@contextmanager
def serving(routes):
    """Answer these paths on the service's socket for the duration of the block."""
    loop = asyncio.new_event_loop()
    app = web.Application()
    for path, answer in routes.items():

        async def handler(request, answer=answer):
            found = answer(request)
            return await found if inspect.isawaitable(found) else found

        app.router.add_route("*", path, handler)
    runner = web.AppRunner(app)

    async def open_socket():
        await runner.setup()
        await web.UnixSite(runner, str(runtime.socket_path())).start()

    loop.run_until_complete(open_socket())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def apart():
    """Give the block a runtime directory of its own, for what outlives a single test."""
    with (
        tempfile.TemporaryDirectory(prefix="hs", dir="/tmp") as place,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("HYPERLLAMA_RUNTIME_DIR", place)
        yield Path(place)
