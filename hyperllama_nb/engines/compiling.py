"""A process that compiles a model and ends, behind whatever else the machine has to do."""

import asyncio
import contextlib
import dataclasses
import shutil
from collections.abc import Callable

from hyperllama_nb.engines.base import Backend, Launch, Phase
from hyperllama_nb.engines.log import LogReader
from hyperllama_nb.engines.process import EVIDENCE, POLL, EngineProcess
from hyperllama_nb.errors import EngineStartError, LoadTimeoutError

NICENESS = 10
"""Added to the process's nice value: an engine that runs or loads beside it comes first."""


class Compilation(EngineProcess):
    """One compilation under its guard, with an engine's hygiene; `socket` is never made."""

    async def run(
        self,
        launch: Launch,
        backend: Backend,
        on_phase: Callable[[Phase], None],
        deadline: float | None = None,
    ) -> None:
        """Compile, for at most `deadline` seconds; `on_phase` hears each stage of the log.

        Cancelling it ends the process. Raises EngineStartError with the cause if it fails, and
        LoadTimeoutError if it takes too long.
        """
        try:
            await self.start(_niced(launch), backend, on_phase)
            async with asyncio.timeout(deadline):
                await self._until_ended(backend, on_phase)
        except TimeoutError:
            raise LoadTimeoutError(
                f"it was not done after {deadline:.0f} s (OLLAMA_LOAD_TIMEOUT)"
            ) from None
        finally:
            await self.stop()
        if self.returncode != 0:
            raise EngineStartError(backend.explain(self.log_tail(EVIDENCE), self.returncode))

    async def _until_ended(self, backend: Backend, on_phase: Callable[[Phase], None]) -> None:
        reader = LogReader(self.log)
        ended = False
        while not ended:
            ended = self._exited.is_set()
            for line in reader.lines():
                phase = backend.phase(line)
                if phase is not None:
                    on_phase(phase)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._exited.wait(), POLL)


def _niced(launch: Launch) -> Launch:
    nice = shutil.which("nice")
    if nice is None:
        return launch
    return dataclasses.replace(launch, argv=(nice, "-n", str(NICENESS), *launch.argv))
