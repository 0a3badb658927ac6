"""Where the time of an engine's start goes, warm and cold, and what a change of it does.

usage: starts.py [MODEL] [-n TIMES] [--backend NAME] [--cold] [--env NAME=VALUE] [--launcher FILE]

Starts the engine as the service would, TIMES times, and prints the seconds of each stage: median,
least and most. With `--env` or `--launcher` (a file in place of the one that runs the engine) each
start is paired with a changed one, in alternating order, and the ratio of their totals is told.
`--cold` gives each start an empty directory for compiled models, and tells the compilation ahead
(`pull` does it) as a start of its own. Nothing else may run meanwhile.
"""

import argparse
import asyncio
import dataclasses
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from hyperllama_nb.engines.base import Backend, Launch, LaunchSpec, Phase, load_backends
from hyperllama_nb.engines.compiling import Compilation
from hyperllama_nb.engines.process import EngineProcess
from hyperllama_nb.models import Store
from hyperllama_nb.service.config import HyperLlamaService
from hyperllama_nb.service.launching import choose

LIMIT = 900.0
"""Seconds that a start may take."""

Stages = dict[str, float]
"""What was announced until the next announcement, and for how long, in seconds."""


class Watch:
    """Takes the time of each stage that an engine announces."""

    def __init__(self) -> None:
        self.stages: Stages = {}
        self._name, self._since = "the program", time.monotonic()

    def hear(self, phase: Phase) -> None:
        """Take note that a stage begins, and with it that the one before has ended."""
        now = time.monotonic()
        self.stages[self._name] = self.stages.get(self._name, 0.0) + now - self._since
        self._name, self._since = phase.message, now

    def end(self) -> Stages:
        """Return the stages, with their total."""
        self.hear(Phase("end", ""))
        return {**self.stages, "total": sum(self.stages.values())}


def changed(launch: Launch, args: argparse.Namespace) -> Launch:
    """Return the launch with the changes that are to be judged; an empty value unsets."""
    given = dict(text.split("=", 1) for text in args.env)
    env = {name: value for name, value in {**launch.env, **given}.items() if value}
    argv = [args.launcher if args.launcher and i == 1 else a for i, a in enumerate(launch.argv)]
    return dataclasses.replace(launch, argv=tuple(argv), env=env)


def fresh(spec: LaunchSpec, place: Path, cache: Path | None) -> LaunchSpec:
    """Return the launch in a directory of its own."""
    work = Path(tempfile.mkdtemp(prefix="e", dir=place))
    spec = dataclasses.replace(spec, workdir=work, socket=work / "s.sock")
    return dataclasses.replace(spec, cache=cache) if cache else spec


async def start(backend: Backend, spec: LaunchSpec, launch: Launch, log: Path) -> Stages:
    """Start the engine, wait for its first token, end it."""
    process, watch = EngineProcess(spec.socket, spec.workdir, log), Watch()
    try:
        await process.start(launch, backend, watch.hear)
        await process.wait_ready(spec.manifest.name.display, LIMIT, spec.task)
        return watch.end()
    finally:
        await process.stop()


async def compile_ahead(backend: Backend, spec: LaunchSpec, log: Path) -> Stages:
    """Do what a pull does after the download."""
    warmup, watch = backend.warm(spec), Watch()
    if warmup is not None:
        process = Compilation(spec.socket, spec.workdir, log)
        await process.run(warmup.launch, backend, watch.hear, LIMIT)
    return watch.end()


def show(title: str, runs: list[Stages]) -> None:
    """Print the stages of some starts."""
    print(f"\n{title}, {len(runs)} times (seconds: median, least, most)")
    for stage in dict.fromkeys(name for run in runs for name in run):
        took = [run.get(stage, 0.0) for run in runs]
        print(f"  {statistics.median(took):7.2f} {min(took):7.2f} {max(took):7.2f}  {stage}")


async def measure(args: argparse.Namespace, place: Path) -> None:
    """Run the starts and print what they took."""
    store = Store()
    manifest = store.get(args.model)
    backend, planned = await choose(
        load_backends(), args.backend, manifest, store, HyperLlamaService(), None
    )
    runs: dict[str, list[Stages]] = {}
    pair = ["as it is", "changed"] if args.env or args.launcher else ["as it is"]
    for turn in range(args.times):
        for kind in pair if turn % 2 == 0 else pair[::-1]:
            cache = Path(tempfile.mkdtemp(prefix="c", dir=place)) if args.cold else None
            if cache is not None:
                spec = fresh(planned, place, cache)
                stages = await compile_ahead(backend, spec, place / "log")
                runs.setdefault("compiled ahead", []).append(stages)
            spec = fresh(planned, place, cache)
            launch = backend.command(spec)
            launch = changed(launch, args) if kind == "changed" else launch
            stages = await start(backend, spec, launch, place / "log")
            runs.setdefault(kind, []).append(stages)
            print(f"{kind}: {stages['total']:.2f} s", flush=True)
            if cache is not None:
                shutil.rmtree(cache)
    for title, found in runs.items():
        show(title, found)
    if len(pair) == 2:
        before, after = ([run["total"] for run in runs[kind]] for kind in pair)
        ratios = sorted(new / old for old, new in zip(before, after, strict=True))
        told = f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        print(f"\nchanged / as it is, by pairs: {told}")


def main() -> None:
    """Read the command line and measure."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="smollm2:135m")
    parser.add_argument("-n", dest="times", type=int, default=6)
    parser.add_argument("--backend")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--launcher", metavar="FILE")
    args = parser.parse_args()
    # Short: sockets have names of at most 103 bytes.
    place = Path(tempfile.mkdtemp(prefix="hls", dir="/tmp"))
    try:
        asyncio.run(measure(args, place))
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
