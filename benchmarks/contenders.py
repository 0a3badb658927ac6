"""The engines of `cpu.py`: each alone, on the same weights, held still while another one runs."""

import contextlib
import dataclasses
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from alone import engine_alone, planned
from streams import Way, engine_way, service_way

from hyperllama_nb import Client
from hyperllama_nb.engines.llamacpp.find import VARIABLE as LLAMA_SERVER
from hyperllama_nb.engines.max.leaning import CHOICE as MAX_LAUNCH
from hyperllama_nb.models import Store
from hyperllama_nb.runtime import socket_path

SLOTS = 8
CONTEXT = 4096

ASLEEP = 30.0
"""Seconds within which the service lets an idle engine sleep, unless it is told never to."""


@dataclass(frozen=True)
class Contender:
    """An engine to measure: what it runs, and the bytes of weights that a token reads."""

    name: str
    model: str
    backend: str
    env: dict[str, str]
    source: Path | None = None
    service: bool = False


@dataclass
class Running:
    """A contender that is loaded: the way to it, and how it is held and let go."""

    contender: Contender
    way: Way
    seconds: float
    hold: Callable[[], None]
    let_go: Callable[[], None]

    def body(self, ids: list[int], text: str, tokens: int) -> dict[str, Any]:
        """Return a request for `tokens` tokens after a prompt, greedily."""
        model = self.contender.model
        if self.contender.service:
            options = {"temperature": 0, "num_predict": tokens}
            return {"model": model, "prompt": text, "raw": True, "options": options}
        return {
            "model": model,
            "prompt": ids,
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "ignore_eos": True,
        }


def contenders(plain: str, packed: str, native: str | None, full: Path) -> list[Contender]:
    """Return all of them: MAX's two engines in two encodings, and llama.cpp on the same files.

    `plain` and `packed` are the models in float32 and Q4_0, `native` a `llama-server` built for
    this machine, `full` a GGUF of the plain model.
    """
    serve, lean, wheel = {MAX_LAUNCH: "serve"}, {MAX_LAUNCH: ""}, {LLAMA_SERVER: ""}
    found = [
        Contender("max serve, float32", plain, "max", serve),
        Contender("lean, float32", plain, "max", lean),
        Contender("max serve, q4_0", packed, "max", serve),
        Contender("lean, q4_0", packed, "max", lean),
        Contender("lean, q4_0, through the service", packed, "max", lean, service=True),
        Contender("llama.cpp wheel, f32", plain, "llamacpp", wheel, full),
        Contender("llama.cpp wheel, q4_0", packed, "llamacpp", wheel),
    ]
    if native:
        own = {LLAMA_SERVER: native}
        found += [
            Contender("llama.cpp native, f32", plain, "llamacpp", own, full),
            Contender("llama.cpp native, q4_0", packed, "llamacpp", own),
        ]
    return found


@asynccontextmanager
async def running(contender: Contender, *, cache: Path | None = None) -> AsyncIterator[Running]:
    """Load a contender for the duration of the block; `cache` replaces that of compiled code."""
    with _environment(contender.env):
        if contender.service:
            async with _in_the_service(contender) as found:
                yield found
            return
        backend, spec = await planned(
            contender.model, contender.backend, context=CONTEXT, batch=SLOTS
        )
        if contender.source is not None:
            spec = dataclasses.replace(spec, source=contender.source)
        if cache is not None:
            spec = dataclasses.replace(spec, cache=cache)
        began = time.perf_counter()
        async with engine_alone(backend, spec) as alone:
            took = time.perf_counter() - began
            group = alone.process.pid
            assert group is not None
            # An idle worker of `max serve` polls, which would slow whoever is measured.
            yield Running(
                contender,
                engine_way(alone.spec.socket),
                took,
                lambda: os.killpg(group, signal.SIGSTOP),
                lambda: os.killpg(group, signal.SIGCONT),
            )
            os.killpg(group, signal.SIGCONT)


@asynccontextmanager
async def _in_the_service(contender: Contender) -> AsyncIterator[Running]:
    with Client() as client:
        began = time.perf_counter()
        client.load(contender.model, options={"backend": contender.backend, "num_ctx": CONTEXT})
        took = time.perf_counter() - began
        way = service_way(socket_path())
        # The service lets its engine sleep by itself, and wakes it for a request.
        yield Running(contender, way, took, lambda: _until_asleep(client), lambda: None)
        client.unload(contender.model)


def _until_asleep(client: Client) -> None:
    end = time.monotonic() + ASLEEP
    while not all(engine["asleep"] for engine in client.status()["engines"]):
        if time.monotonic() > end:
            raise SystemExit("The service lets no engine sleep: unset HYPERLLAMA_SLEEP_AFTER.")
        time.sleep(0.1)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Any:
    before = {name: os.environ.get(name) for name in values}
    for name, value in values.items():
        _set(name, value or None)
    try:
        yield
    finally:
        for name, old in before.items():
            _set(name, old)


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def full_file(model: str) -> Path:
    """Return a GGUF of a model in float32, made from the one that it was imported from."""
    store = Store()
    source = store.gguf(store.get(model))
    assert source is not None, f"{model} does not come from a GGUF file"
    reader = gguf.GGUFReader(source)
    target = Path(tempfile.mkdtemp(prefix="hlb")) / "model-f32.gguf"
    writer = gguf.GGUFWriter(target, "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in {
            "general.architecture",
            "general.file_type",
        }:
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        plain = gguf.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, np.ascontiguousarray(plain, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
