"""Pulls in progress: one download, however many ask for it."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.progress import Progress
from hyperllama_nb.models.sources.hosts import Policy
from hyperllama_nb.models.store import Store

Line = dict[str, Any]
Warm = Callable[[Manifest], AsyncGenerator[Line, None]]
"""Compiles a model ahead of its first start, telling how far it is; never fails."""
Job = Callable[..., Manifest]
"""Work of the store that takes `progress` and `cancelled`, as `Store.pull` does."""


class Pulls:
    """Run each pull in a thread and fan its progress out to all who asked for the same model."""

    def __init__(
        self,
        store: Store,
        policy: Policy | None = None,
        fetched: Callable[[int], None] = lambda _: None,
        warm: Warm | None = None,
    ) -> None:
        """Tell `fetched` how many more bytes have come, each time; `warm` what has been pulled."""
        self._store = store
        self._warm = warm
        self._fetched = fetched
        self._policy = policy or Policy()
        self._running: dict[Hashable, _Pull] = {}

    async def pull(
        self,
        text: str,
        name: str | None = None,
        *,
        local: bool = False,
        insecure: bool = False,
        quantize: str | None = None,
        compile: bool = True,  # noqa: A002  the field's name on the wire
    ) -> AsyncGenerator[Line, None]:
        """Yield the store's progress as Ollama's lines, the last one `{"status": "success"}`.

        `local` allows what lies on this machine (files, Ollama's directory, packages of the
        caller's choice), `insecure` plain HTTP to this machine; `quantize` re-encodes the weights.
        With `compile` the model is compiled once it is in the store, where it then stays.
        The download is cancelled when the last reader leaves; what was fetched is kept for the next
        try. Raises what the store raises.
        """
        policy = replace(self._policy, local=local, insecure=insecure)
        job = partial(self._store.pull, text, name=name, policy=policy, quantize=quantize)
        key = _Asked(text.strip(), name, local, insecure, quantize)
        pull = self._join(key, job)
        last: Line | None = None
        async with aclosing(pull.read()) as lines:
            async for line in lines:
                if line["status"] == "success":
                    last = line
                else:
                    yield line
        if compile and self._warm is not None:
            async with aclosing(self._warm(pull.task.result())) as lines:
                async for line in lines:
                    yield line
        if last is not None:
            yield last

    def status(self) -> list[Line]:
        """Return the last line of each pull that runs, with its `model` and its `source`."""
        return [
            {"model": key.name or key.source, "source": key.source, **pull.last}
            for key, pull in self._running.items()
            if isinstance(key, _Asked) and not pull.cancelled.is_set()
        ]

    async def run(self, key: Hashable, job: Job) -> AsyncGenerator[Line, None]:
        """Yield the progress of a job in a thread, which all who give the same key share."""
        async with aclosing(self._join(key, job).read()) as lines:
            async for line in lines:
                yield line

    def _join(self, key: Hashable, job: Job) -> "_Pull":
        """Return the running job of that key, or begin it."""
        pull = self._running.get(key)
        if pull is None or pull.cancelled.is_set():
            pull = self._running[key] = _Pull(job, self._fetched)
            pull.task.add_done_callback(lambda _: self._forget(key, pull))
        return pull

    def _forget(self, key: Hashable, pull: "_Pull") -> None:
        if self._running.get(key) is pull:
            del self._running[key]

    async def close(self) -> None:
        """Cancel what runs and wait for the threads to notice."""
        pulls = list(self._running.values())
        for pull in pulls:
            pull.cancelled.set()
        await asyncio.gather(*(pull.task for pull in pulls), return_exceptions=True)


class _Asked(NamedTuple):
    """What makes two pulls the same one."""

    source: str
    name: str | None
    local: bool
    insecure: bool
    quantize: str | None


class _Pull:
    def __init__(self, job: Job, fetched: Callable[[int], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._fetched = fetched
        self._counts: dict[Hashable, int] = {}
        self._lines: list[Line] = []
        self._more = asyncio.Event()
        self._readers = 0
        self.cancelled = threading.Event()
        self.task: asyncio.Task[Manifest] = asyncio.create_task(
            asyncio.to_thread(job, progress=self._tell, cancelled=self.cancelled.is_set)
        )
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        self.task.add_done_callback(lambda _: self._more.set())

    @property
    def last(self) -> Line:
        """Return what was told last."""
        return self._lines[-1] if self._lines else {"status": "pulling"}

    def _tell(self, progress: Progress) -> None:
        """Take a progress report from the thread."""
        self._loop.call_soon_threadsafe(self._add, progress.line())

    def _add(self, line: Line) -> None:
        self._count(line)
        # Byte counts replace each other: a slow reader wants the latest, not each.
        if self._lines and "completed" in line and _same_part(self._lines[-1], line):
            self._lines[-1] = line
        else:
            self._lines.append(line)
        self._more.set()
        self._more = asyncio.Event()

    def _count(self, line: Line) -> None:
        """Tell what came since the last report on the same file."""
        done = line.get("completed")
        if done is not None and line["status"].startswith("pulling"):
            file = (line["status"], line.get("digest"))
            self._fetched(max(0, done - self._counts.get(file, 0)))
            self._counts[file] = done

    async def read(self) -> AsyncGenerator[Line, None]:
        self._readers += 1
        sent: Line | None = None
        position = 0
        try:
            while True:
                more = self._more
                while True:
                    if position and self._lines[position - 1] is not sent:
                        sent = self._lines[position - 1]  # replaced since it was sent
                    elif position < len(self._lines):
                        sent = self._lines[position]
                        position += 1
                    else:
                        break
                    yield sent
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
