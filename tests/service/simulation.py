"""A manager whose engines, memory and clock are simulated: no process, no thread, no waiting."""

import asyncio
import selectors
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from hyperllama_nb.engines.base import Launch, LaunchSpec, Placement, context_rung
from hyperllama_nb.engines.memory import Need
from hyperllama_nb.engines.sleep import Sleep
from hyperllama_nb.errors import (
    BusyError,
    EngineDiedError,
    EngineStartError,
    HyperLlamaError,
    NotEnoughMemoryError,
)
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.names import Name
from hyperllama_nb.service import deaths, launching, manager, room, running
from hyperllama_nb.service.manager import Manager

SIZES = {"a": 1, "b": 1, "c": 2}
"""How much memory the engine of each model takes, of `CAPACITY`."""

CAPACITY = 2

LONGEST = 16384

STOPPING = 0.5
"""Seconds that an engine takes to end."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when nothing else is to be done."""

    def __init__(self):
        self.now = 1000.0
        super().__init__(_Selector(self))

    def time(self):
        return self.now

    async def settle(self):
        """Do all that can be done now."""
        for _ in range(3):
            await asyncio.sleep(0)
        while len(self._ready) > 0:  # noqa: ASYNC110  it is the loop itself
            await asyncio.sleep(0)


class _Selector(selectors.SelectSelector):
    def __init__(self, loop):
        super().__init__()
        self._loop = loop

    def select(self, timeout=None):
        assert timeout is not None, "everybody waits for something that never comes"
        self._loop.now += max(0.0, timeout)
        return super().select(0)


def key(model):
    return Name.parse(model).key


def manifest(name):
    return Manifest(
        name=Name.parse(name),
        source="test",
        revision="1",
        architecture="X",
        family="x",
        parameters=1,
        quantization="F32",
        encoding="float32",
        context_length=LONGEST,
        embedding_length=1,
        layers=1,
        kv_heads=1,
        head_dim=1,
        vocab_size=1,
        template="",
        files=(),
    )


class Process:
    """Stands for an engine's process: it takes memory until it has ended."""

    tcp = False
    pid = 1

    def __init__(self, world, engine):
        self.world, self.engine = world, engine
        self.returncode = None
        self.log = Path("log")
        self.ready = world.loop.create_future()
        self.exited = asyncio.Event()
        self.failed = False
        self.sleep = Sleep(lambda word: False)

    async def start(self, launch, backend, on_phase):
        self.world.alive.append(self)

    async def wait_ready(self, model, *rest):
        self.failed = not await asyncio.shield(self.ready)
        if self.failed:
            raise EngineStartError("it does not start")
        return object()

    async def wait(self):
        await self.exited.wait()
        return self.returncode

    async def stop(self):
        if self not in self.world.alive:
            return
        if self.engine.users and not self.failed and not self.world.closing:
            self.world.wrongs.append(f"{self.engine.model} was stopped while it was used")
        await asyncio.sleep(STOPPING)
        self.die(0)

    def die(self, returncode):
        """End, wanted or not."""
        if self in self.world.alive:
            self.world.alive.remove(self)
        self.returncode = returncode
        self.exited.set()

    def log_tail(self, lines):
        return []

    def memory(self):
        return 0


class Backend:
    """A backend that knows how much memory is left."""

    def __init__(self, world, name):
        self.world, self.name = world, name

    def check(self, spec, hardware):
        if self.world.used + SIZES[spec.manifest.name.model] > CAPACITY:
            raise NotEnoughMemoryError("no memory")

    def command(self, spec):
        return Launch(())

    def launch(self, spec):
        return None

    def warm(self, spec):
        return None

    def memory(self, spec):
        return Need(SIZES[spec.manifest.name.model], 0, 0)

    def capabilities(self, spec):
        return frozenset()

    def explain(self, log_tail, returncode):
        return "it ended."


@dataclass
class World:
    """All that the manager sees of the machine, and what it did wrong with it."""

    slots: int = 1
    max_queue: int = 2
    max_loaded: int = 0
    loop: Loop = field(default_factory=Loop)
    alive: list = field(default_factory=list)
    wrongs: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    closing: bool = False

    def __post_init__(self):
        self.backends = {name: Backend(self, name) for name in ("x", "y")}
        self.patch = pytest.MonkeyPatch()
        for module in (deaths, manager, room, running):
            clock = SimpleNamespace(monotonic=self.loop.time)
            self.patch.setattr(module, "time", clock)
        self.patch.setattr(asyncio, "to_thread", at_once)
        self.patch.setattr(launching, "detect", lambda: None)
        self.patch.setattr(manager, "choose", self.choose)
        self.patch.setattr(manager, "RunningEngine", self.engine)
        settings = SimpleNamespace(
            keep_alive=300.0,
            load_timeout=0.0,
            max_queue=self.max_queue,
            sleep_after=2.0,
            max_loaded_models=self.max_loaded,
        )
        self.manager = self.run(self.make(settings))

    async def make(self, settings):
        made = Manager(None, self.backends, settings)
        made.start()
        return made

    def run(self, work):
        return self.loop.run_until_complete(work)

    def settle(self):
        self.run(self.loop.settle())

    def pass_time(self, seconds):
        self.run(asyncio.sleep(seconds))
        self.settle()

    @property
    def used(self):
        return sum(SIZES[process.engine.manifest.name.model] for process in self.alive)

    async def choose(self, backends, asked, wanted, store, settings, context):
        spec = LaunchSpec(
            manifest=wanted,
            directory=Path(),
            placement=Placement(),
            context=context_rung(max(context or 0, 4096), LONGEST),
            batch=self.slots,
            max_queue=self.max_queue,
            socket=Path("s"),
            workdir=Path(),
            cache=Path(),
        )
        return backends[asked or "x"], spec

    def engine(self, *args):
        made = running.RunningEngine(*args)
        made.process = Process(self, made)
        made.prompter = SimpleNamespace(load=lambda: None)
        return made

    @property
    def loading(self):
        return [p for p in self.alive if not p.ready.done()]

    def close(self):
        """End the manager and return what is left of it."""
        self.closing = True
        try:
            self.run(self.manager.close())
            self.settle()
            left = asyncio.all_tasks(self.loop)
            return [*left, *self.alive, *self.manager.engines, *self.manager.desks._desks]
        finally:
            self.patch.undo()
            self.loop.close()


async def at_once(work, *args):
    return work(*args)


class Request:
    """One request in a task of its own, and how far it is."""

    def __init__(self, world, model, caller="", **fields):
        self.world, self.model, self.caller = world, model, caller
        self.fields = fields
        self.stage = "arrived"
        self.engine = None
        self.end = asyncio.Event()
        self.overtaken = []
        self.present = world.manager.desks.present(key(model))
        world.requests.append(self)
        self.task = world.loop.create_task(self.go())
        self.task.add_done_callback(lambda _: world.requests.remove(self))

    async def go(self):
        try:
            async with self.world.manager.use(manifest(self.model), **self.fields) as engine:
                self.engine = engine
                self.stage = "queued"
                async with engine.admission.slot(caller=self.caller):
                    self.stage = "running"
                    self.note_turn()
                    await self.work(engine.process)
            self.stage = "done"
        except BusyError:
            self.stage = "refused"
        except HyperLlamaError as error:
            self.stage = "failed"
            self.error = error
        except (asyncio.CancelledError, ConnectionError):
            self.stage = "left"

    async def work(self, process):
        """Hold the slot until the test says that it is over, or the engine dies."""
        either = [asyncio.ensure_future(e.wait()) for e in (self.end, process.exited)]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in either:
                one.cancel()
        if not self.end.is_set():
            raise EngineDiedError("it died")

    def note_turn(self):
        """Tell those who wait at the same engine that this caller had a turn."""
        for other in self.world.requests:
            if other.engine is self.engine and other.stage == "queued":
                if other.caller == self.caller:
                    other.overtaken.clear()
                else:
                    other.overtaken.append(self.caller)
