"""Pulls in progress: one download, however many ask for it."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.progress import Progress
from hyperllama_nb.models.store import Store

Line = dict[str, Any]


class Pulls:
    """Run each pull in a thread and fan its progress out to all who asked for the same model."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._running: dict[tuple[str, str | None], _Pull] = {}

    async def pull(self, text: str, name: str | None = None) -> AsyncGenerator[Line, None]:
        """Yield the store's progress as Ollama's lines, the last one `{"status": "success"}`.

        The download is cancelled when the last reader leaves; what was fetched is kept for the next
        try. Raises what the store raises.
        """
        key = (text.strip(), name)
        pull = self._running.get(key)
        if pull is None or pull.cancelled.is_set():
            pull = self._running[key] = _Pull(self._store, text, name)
            pull.task.add_done_callback(lambda _: self._forget(key, pull))
        async with aclosing(pull.read()) as lines:
            async for line in lines:
                yield line

    def _forget(self, key: tuple[str, str | None], pull: "_Pull") -> None:
        if self._running.get(key) is pull:
            del self._running[key]

    async def close(self) -> None:
        """Cancel what runs and wait for the threads to notice."""
        pulls = list(self._running.values())
        for pull in pulls:
            pull.cancelled.set()
        await asyncio.gather(*(pull.task for pull in pulls), return_exceptions=True)


class _Pull:
    def __init__(self, store: Store, text: str, name: str | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: list[Line] = []
        self._more = asyncio.Event()
        self._readers = 0
        self.cancelled = threading.Event()
        self.task: asyncio.Task[Manifest] = asyncio.create_task(
            asyncio.to_thread(
                store.pull, text, name=name, progress=self._tell, cancelled=self.cancelled.is_set
            )
        )
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        self.task.add_done_callback(lambda _: self._more.set())

    def _tell(self, progress: Progress) -> None:
        """Take a progress report from the thread."""
        self._loop.call_soon_threadsafe(self._add, progress.line())

    def _add(self, line: Line) -> None:
        # Byte counts replace each other: a slow reader wants the latest, not each.
        if self._lines and "completed" in line and _same_part(self._lines[-1], line):
            self._lines[-1] = line
        else:
            self._lines.append(line)
        self._more.set()
        self._more = asyncio.Event()

    async def read(self) -> AsyncGenerator[Line, None]:
        self._readers += 1
        sent: Line | None = None
        position = 0
        try:
            while True:
                more = self._more
                while position < len(self._lines):
                    sent = self._lines[position]
                    position += 1
                    yield sent
                if self._lines and self._lines[-1] is not sent:
                    sent = self._lines[-1]
                    yield sent
                    continue
                if self.task.done():
                    break
                await more.wait()
            self.task.result()
        finally:
            self._readers -= 1
            if self._readers == 0:
                self.cancelled.set()


def _same_part(before: Line, after: Line) -> bool:
    return "completed" in before and before.get("digest") == after.get("digest")
