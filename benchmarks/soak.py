"""Ask one service for everything at once, break off at random, and count what is left behind.

Run it for ten minutes: `python benchmarks/soak.py [--seconds 600] [--clients 64]`. It starts a
service of its own with scripted engines, so that nothing but the service is under test; with
`--model NAME` it uses the user's service and a real engine instead. The last lines tell the
requests by how they ended, and the service's tasks, descriptors and slots before and after;
the exit status is 1 if there are more after than before.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil

SETTLE = 30.0
"""Seconds that cancelled work may take to end once the last client has gone."""

SERVICE = """
import sys
from pathlib import Path
from hyperllama_nb.models import Store
from hyperllama_nb.service.host import main
from hyperllama_nb.testing import FakeBackend, Script, install_tiny
install_tiny(Store(), "tiny")
install_tiny(Store(), "other", context_length=4096)
script = Script(pieces=("word ",), repeat=200, delay_first=0.02, delay=0.005)
sys.exit(main({"fake": FakeBackend([script], slots=4)}))
"""


@contextmanager
def scripted_service(place: Path) -> Iterator[Path]:
    """Run a service with scripted engines in a process of its own; gives its socket."""
    runtime = place / "r"
    runtime.mkdir(mode=0o700)
    env = {
        **os.environ,
        "HYPERLLAMA_RUNTIME_DIR": str(runtime),
        "HYPERLLAMA_MODELS": str(place / "models"),
        "OLLAMA_MAX_QUEUE": "24",
    }
    with (runtime / "service.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVICE], env=env, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            while not (runtime / "service.sock").exists():
                if process.poll() is not None:
                    raise SystemExit((runtime / "service.log").read_text("utf-8"))
                time.sleep(0.1)
            yield runtime / "service.sock"
        finally:
            process.terminate()
            process.wait()


def requests_of(models: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return the kinds of requests, a path and a body each."""
    chat = [{"role": "user", "content": "Tell me a long story."}]
    kinds: list[tuple[str, dict[str, Any]]] = []
    for model in models:
        options = {"num_predict": 200}
        kinds += [
            ("/api/generate", {"model": model, "prompt": "Once", "options": options}),
            ("/api/generate", {"model": model, "prompt": "x", "options": options, "stream": False}),
            ("/api/chat", {"model": model, "messages": chat, "options": options}),
            ("/v1/chat/completions", {"model": model, "messages": chat, "stream": True}),
            ("/v1/completions", {"model": model, "prompt": "Once", "max_tokens": 200}),
            ("/api/generate", {"model": model, "keep_alive": 0}),
            ("/api/show", {"model": model}),
        ]
    return kinds


async def client(
    session: aiohttp.ClientSession,
    kinds: list[tuple[str, dict[str, Any]]],
    rng: random.Random,
    until: float,
    ended: Counter[str],
) -> None:
    """Send requests one after the other; each third one is broken off somewhere."""
    while time.monotonic() < until:
        path, body = rng.choice(kinds)
        patience = rng.uniform(0.0, 1.5) if rng.random() < 0.34 else None
        try:
            async with asyncio.timeout(patience):
                async with session.post(f"http://service{path}", json=body) as answer:
                    await answer.read()
                    ended[f"status {answer.status}"] += 1
        except TimeoutError:
            ended["broken off"] += 1
        except aiohttp.ClientError as error:
            ended[type(error).__name__] += 1


async def state(session: aiohttp.ClientSession) -> dict[str, int]:
    """Return what the service holds."""
    async with session.get("http://service/admin/status") as answer:
        status = json.loads(await answer.read())
    return {
        "tasks": status["tasks"],
        "descriptors": psutil.Process(status["pid"]).num_fds(),
        "running": sum(engine["running"] for engine in status["engines"]),
        "queued": sum(engine["queued"] for engine in status["engines"]),
        "engines": len(status["engines"]),
    }


async def settled(session: aiohttp.ClientSession, before: dict[str, int]) -> dict[str, int]:
    """Return the state once it is no more than before, or after a while what it is then."""
    deadline = time.monotonic() + SETTLE
    while True:
        after = await state(session)
        if all(after[name] <= before[name] for name in before) or time.monotonic() > deadline:
            return after
        await asyncio.sleep(0.5)


async def soak(socket: Path, models: list[str], seconds: float, clients: int, seed: int) -> int:
    ended: Counter[str] = Counter()
    connector = aiohttp.UnixConnector(str(socket), limit=0, force_close=True)
    kinds = requests_of(models)
    async with aiohttp.ClientSession(connector=connector) as session:
        for model in models:
            async with session.post("http://service/api/generate", json={"model": model}) as answer:
                answer.raise_for_status()
        before = await state(session)
        started = time.monotonic()
        workers = [
            client(session, kinds, random.Random(seed * 1000 + n), started + seconds, ended)
            for n in range(clients)
        ]
        working = asyncio.gather(*workers)
        while not working.done():
            await asyncio.wait([working], timeout=30)
            print(f"{time.monotonic() - started:5.0f} s  {ended.total()} requests", flush=True)
        await working
        for model in models:
            async with session.post("http://service/api/generate", json={"model": model}) as answer:
                answer.raise_for_status()
        after = await settled(session, before)
    print(f"{clients} clients, {seconds:.0f} s, seed {seed}: {ended.total()} requests")
    print("  " + ", ".join(f"{count} {how}" for how, count in sorted(ended.items())))
    print("before: " + ", ".join(f"{value} {name}" for name, value in before.items()))
    print("after:  " + ", ".join(f"{value} {name}" for name, value in after.items()))
    leaked = [name for name in before if after[name] > before[name]]
    print(f"LEAKED: {', '.join(leaked)}" if leaked else "nothing is left behind")
    return 1 if leaked else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="use the user's service and this model")
    args = parser.parse_args()
    arguments = (args.seconds, args.clients, args.seed)
    if args.model:
        from hyperllama_nb import Client
        from hyperllama_nb.runtime import socket_path

        Client().load(args.model)
        raise SystemExit(asyncio.run(soak(socket_path(), [args.model], *arguments)))
    with (
        tempfile.TemporaryDirectory(prefix="soak", dir="/tmp") as place,
        scripted_service(Path(place)) as socket,
    ):
        status = asyncio.run(soak(socket, ["tiny", "other"], *arguments))
    raise SystemExit(status)


if __name__ == "__main__":
    main()
