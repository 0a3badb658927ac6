"""The backend `llamacpp`: a GGUF file as it is, on llama.cpp's own HTTP server."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hyperllama_nb.engines import causes
from hyperllama_nb.engines.base import (
    BackendInfo,
    Launch,
    LaunchSpec,
    Phase,
    Placement,
    Traits,
    Warmup,
)
from hyperllama_nb.engines.llamacpp import find, launcher
from hyperllama_nb.engines.memory import Need
from hyperllama_nb.errors import CannotRunError, EngineMissingError
from hyperllama_nb.hardware import detect

if TYPE_CHECKING:
    from hyperllama_nb.hardware import Hardware
    from hyperllama_nb.models.manifest import Manifest

__all__ = ["LlamaCppBackend"]

BATCH = 4
"""Requests at once: each has its own share of the cache, which is reserved at the start."""

OVERHEAD = 72 << 20
"""Bytes beside weights and cache: compute buffers, the interpreter of the wheel's server."""

MOST_LOGPROBS = 100

RANDOM_SEED = 2**32 - 1
"""What llama.cpp takes for "draw one"; seeds have 32 bits there."""

_NAMES = {"repetition_penalty": "repeat_penalty", "schema": "json_schema"}

_PASSED = ("HOME", "LANG", "PATH", "USER", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")

_STAGES = (
    (re.compile(r"loading model"), Phase("build", "reading the weights")),
    (re.compile(r"initializing, n_slots"), Phase("initialise", "reserving the cache")),
    (re.compile(r"listening on|server is listening"), Phase("ready", "answering a first request")),
)

_MEMORY = (
    "its memory did not suffice. Unload other models (`hyperllama ps`), lower num_ctx or "
    "OLLAMA_NUM_PARALLEL, or take a smaller model."
)
_BY_WORDS = {
    r"unknown model architecture": "this llama.cpp does not know the model's architecture. Update "
    "it (`pip install -U xllamacpp`), or choose another model.",
    r"failed to allocate|out of memory|cannot allocate|bad_alloc": _MEMORY,
    r"invalid magic|failed to (load|read).{0,40}(tensor|model|GGUF)|tensor .{0,60}out of bounds": (
        "it cannot read the model's file. Pull the model again."
    ),
}
_BY_SIGNAL = {
    4: "the processor lacks an instruction that it was built for. Use the wheel (`pip install "
    "xllamacpp`) in place of this llama-server.",
    9: f"the system killed it: {_MEMORY}",
    11: "it crashed (segmentation fault). Run it again; if it ends again, use another version.",
}


class LlamaCppBackend:
    """Launches llama.cpp's server on a Unix socket."""

    name = "llamacpp"

    def available(self) -> BackendInfo:
        """Return the server's program and version; raises EngineMissingError."""
        found = find.find()
        return BackendInfo(found.path, found.version)

    def hear_of(self, program: str) -> None:
        """Take no note: the program belongs to another backend."""

    def place(self, manifest: "Manifest", hardware: "Hardware") -> Placement:
        """Choose the CPU, or the accelerators where the user has built a server of his own."""
        del manifest
        try:
            program = find.find().program
        except EngineMissingError:
            program = False
        if not program or not hardware.devices:
            return Placement()
        api = hardware.devices[0].api
        same = tuple(device.index for device in hardware.devices if device.api == api)
        return Placement("gpu", api, same)

    def batch(self, spec: LaunchSpec) -> int | None:
        """Return 4."""
        del spec
        return BATCH

    def check(self, spec: LaunchSpec, hardware: "Hardware") -> None:
        """Raise CannotRunError or NotEnoughMemoryError, in words, if the model cannot run there."""
        name = spec.manifest.name.display
        if spec.source is None:
            raise CannotRunError(
                f"{name} did not come as a GGUF file, and llama.cpp reads no other. Choose another "
                "backend, or pull the model from a GGUF file."
            )
        if spec.context > spec.manifest.context_length:
            raise CannotRunError(
                f"{name} was made for {spec.manifest.context_length} tokens, and {spec.context} "
                "were asked for. Lower num_ctx (OLLAMA_CONTEXT_LENGTH)."
            )
        if spec.placement.device == "cpu":
            where = "of this machine's memory"
            self.memory(spec).check(spec, hardware.memory_available, where)

    def memory(self, spec: LaunchSpec) -> Need:
        """Return the bytes for weights, a cache in float16, and llama.cpp itself.

        The file is mapped, and what is packed anew of it is as large as it was; the cache is
        cleared, and so taken, at the start (measured: `benchmarks/memory.py`).
        """
        weights = spec.source.stat().st_size if spec.source is not None else 0
        cache = spec.manifest.kv_bytes(spec.context, spec.batch or BATCH) // 2
        return Need(weights, 0 if spec.task == "embed" else cache, OVERHEAD)

    def capabilities(self, spec: LaunchSpec) -> frozenset[str]:
        """Return what llama.cpp does: among others it constrains output to a JSON schema."""
        if spec.task == "embed":
            return frozenset({"embeddings", "metrics", "token_ids"})
        able = {"constrain", "ignore_eos", "logprobs", "metrics", "penalties", "seed", "stop"}
        return frozenset(able | {"token_ids"})

    def traits(self, spec: LaunchSpec) -> Traits:
        """Return llama.cpp's own type of the cache, its threads, and the file's own encoding."""
        cache_type = None if spec.task == "embed" else "f16"
        return Traits(cache_type, detect().cores, spec.manifest.quantization.lower())

    def most_logprobs(self, spec: LaunchSpec) -> int:
        """Return a number above what any API asks for."""
        del spec
        return MOST_LOGPROBS

    def params(self, spec: LaunchSpec, sampling: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters under llama.cpp's names and in its ranges."""
        del spec
        named = {_NAMES.get(name, name): value for name, value in sampling.items()}
        if "top_k" in named:
            named["top_k"] = max(0, named["top_k"])
        if "seed" in named:
            seed = named["seed"] % 2**32
            named["seed"] = seed - 1 if seed == RANDOM_SEED else seed
        return {**named, "cache_prompt": True}

    def command(self, spec: LaunchSpec) -> Launch:
        """Return the command line and environment; raises EngineMissingError."""
        found = find.find()
        batch = spec.batch or BATCH
        threads = detect().cores
        passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
        env = {**passed, "TMPDIR": str(spec.workdir), "PYTHONSAFEPATH": "1"}
        model, alias = str(spec.source), spec.manifest.name.display
        if found.program:
            argv = [
                *(str(found.path), "--model", model, "--alias", alias),
                *("--host", str(spec.socket), "--ctx-size", str(spec.context * batch)),
                *("--parallel", str(batch), "--threads", str(threads)),
                *("--metrics", "--no-webui", "--no-slots"),
            ]
            if spec.task == "embed":
                length = str(spec.context)
                argv += ["--embedding", "--batch-size", length, "--ubatch-size", length]
            if spec.placement.device == "cpu":
                argv += ["--device", "none"]
            return Launch(tuple(argv), env)
        attributes: dict[str, Any] = {
            "n_ctx": spec.context * batch,
            "n_parallel": batch,
            "cpuparams.n_threads": threads,
            "endpoint_metrics": True,
            "endpoint_slots": False,
            "ui": False,
            # Templates are rendered by the service.
            "use_jinja": False,
        }
        if spec.task == "embed":
            # A text is read in one step, and the default's are of 512 tokens.
            attributes |= {"embedding": True, "n_batch": spec.context, "n_ubatch": spec.context}
        named = {"model": model, "alias": alias, "socket": str(spec.socket)}
        described = {**named, "attributes": attributes}
        argv = [str(found.path), "-P", launcher.__file__, json.dumps(described)]
        return Launch(tuple(argv), env)

    def launch(self, spec: LaunchSpec) -> str | None:
        """Return None: there is one way."""
        del spec
        return None

    def warm(self, spec: LaunchSpec) -> Warmup | None:
        """Return None: llama.cpp is compiled when it is installed."""
        del spec
        return None

    def phase(self, line: str) -> Phase | None:
        """Return the stage that a line of the log announces."""
        return next((found for words, found in _STAGES if words.search(line)), None)

    def explain(self, log_tail: Sequence[str], returncode: int | None) -> str:
        """Return why it ended, the next step, and its last words."""
        return causes.explain(log_tail, returncode, by_words=_BY_WORDS, by_signal=_BY_SIGNAL)
