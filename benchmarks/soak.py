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

from hyperllama_nb.runtime import PROTOCOL, socket_path

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}

BUSY = (429, 503)
"""What a client is told that comes when the queue is full; it waits before it asks again."""

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
install_tiny(Store(), "third", system="3")
script = Script(pieces=("word ",), repeat=200, delay_first=0.02, delay=0.005)
sys.exit(main({"fake": FakeBackend([script], slots=4)}))
"""

LOADED = 2
"""Models that may be loaded at once, of the three: the third makes engines come and go."""

DEATH = 90.0
"""Seconds between two engines that are killed; more often, and their model is refused."""


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
        "OLLAMA_MAX_LOADED_MODELS": str(LOADED),
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


Kind = tuple[str, dict[str, Any] | None]


def requests_of(models: list[str]) -> list[Kind]:
    """Return the kinds of requests, a path and a body each; without a body it is a GET."""
    chat = [{"role": "user", "content": "Tell me a long story."}]
    kinds: list[Kind] = [(f"/{path}", None) for path in ("api/tags", "api/ps", "metrics")]
    kinds += [("/v1/models", None), ("/nothing", None)]
    for model in models:
        options = {"num_predict": 200}
        generate = {"model": model, "prompt": "Once", "options": options}
        kinds += [
            ("/api/generate", generate),
            ("/api/generate", {**generate, "stream": False}),
            ("/api/generate", {**generate, "options": {**options, "num_ctx": 6000}}),
            ("/api/generate", {**generate, "format": SCHEMA}),
            ("/api/chat", {"model": model, "messages": chat, "options": options}),
            ("/v1/chat/completions", {"model": model, "messages": chat, "stream": True}),
            ("/v1/completions", {"model": model, "prompt": "Once", "max_tokens": 200}),
            ("/api/generate", {"model": model, "keep_alive": 0}),
            ("/admin/attach", {"protocol": PROTOCOL, "kind": "soak"}),
            ("/admin/load", {"model": model}),
            ("/api/tokenize", {"model": model, "content": "Once"}),
            ("/api/embed", {"model": model, "input": "Once"}),
            ("/api/show", {"model": model}),
        ]
    return kinds


async def client(
    session: aiohttp.ClientSession,
    kinds: list[Kind],
    rng: random.Random,
    until: float,
    ended: Counter[str],
) -> None:
    """Send requests one after the other; each third one is broken off somewhere."""
    while time.monotonic() < until:
        path, body = rng.choice(kinds)
        leaves = rng.random() < 0.34 or path == "/admin/attach"
        patience = rng.uniform(0.0, 1.5) if leaves else None
        method = "GET" if body is None else "POST"
        headers = {"X-HyperLlama-Progress": "1"} if rng.random() < 0.5 else {}
        try:
            async with asyncio.timeout(patience):
                url = f"http://service{path}"
                async with session.request(method, url, json=body, headers=headers) as answer:
                    data = await answer.read()
                    ended[f"status {answer.status}"] += 1
                    if answer.status == 500:
                        print(f"{method} {path}: {data.decode()}", flush=True)
            if answer.status in BUSY:
                await asyncio.sleep(rng.uniform(0.0, 1.0))
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
        "values in the status": leaves_of(status),
    }


def leaves_of(value: Any) -> int:
    """Return how many plain values a JSON value has in it."""
    if isinstance(value, dict):
        return sum(map(leaves_of, value.values()))
    return sum(map(leaves_of, value)) if isinstance(value, list) else 1


async def kill_one(session: aiohttp.ClientSession, rng: random.Random) -> None:
    """Kill an engine, as the system does when memory is short."""
    async with session.get("http://service/admin/status") as answer:
        engines = [e for e in (await answer.json())["engines"] if e["state"] == "ready"]
    if engines:
        psutil.Process(rng.choice(engines)["pid"]).kill()


async def load(session: aiohttp.ClientSession, models: list[str]) -> None:
    """Load as many models as may be loaded, with nothing else in the way."""
    for model in models[:LOADED]:
        body = {"model": model, "keep_alive": -1}
        async with session.post("http://service/api/generate", json=body) as answer:
            answer.raise_for_status()


async def settled(session: aiohttp.ClientSession, before: dict[str, int]) -> dict[str, int]:
    """Return the state once it is no more than before, or after a while what it is then."""
    deadline = time.monotonic() + SETTLE
    while True:
        after = await state(session)
        if all(after[name] <= before[name] for name in before) or time.monotonic() > deadline:
            return after
        await asyncio.sleep(0.5)


async def soak(
    socket: Path, models: list[str], seconds: float, clients: int, seed: int, *, kills: bool = False
) -> int:
    ended: Counter[str] = Counter()
    connector = aiohttp.UnixConnector(str(socket), limit=0, force_close=True)
    kinds = requests_of(models)
    async with aiohttp.ClientSession(connector=connector) as session:
        await load(session, models)
        before = await state(session)
        started = time.monotonic()
        workers = [
            client(session, kinds, random.Random(seed * 1000 + n), started + seconds, ended)
            for n in range(clients)
        ]
        working = asyncio.gather(*workers)
        killed = started
        while not working.done():
            await asyncio.wait([working], timeout=30)
            now = time.monotonic()
            print(f"{now - started:5.0f} s  {ended.total()} requests", flush=True)
            if kills and now - killed >= DEATH and not working.done():
                killed = now
                await kill_one(session, random.Random(seed))
                ended["killed engines"] += 1
        await working
        await load(session, models)
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

        Client().load(args.model)
        raise SystemExit(asyncio.run(soak(socket_path(), [args.model], *arguments)))
    with (
        tempfile.TemporaryDirectory(prefix="soak", dir="/tmp") as place,
        scripted_service(Path(place)) as socket,
    ):
        models = ["tiny", "other", "third"]
        status = asyncio.run(soak(socket, models, *arguments, kills=True))
    raise SystemExit(status)


if __name__ == "__main__":
    main()
