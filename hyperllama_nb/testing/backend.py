"""FakeBackend: launches FakeEngines as processes, so that a service can be tested without MAX."""

import contextlib
import http.client
import json
import os
import platform
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperllama_nb.engines.base import (
    BackendInfo,
    Launch,
    LaunchSpec,
    Phase,
    Placement,
    Traits,
    Warmup,
)
from hyperllama_nb.engines.memory import Need
from hyperllama_nb.errors import HyperLlamaError
from hyperllama_nb.testing.script import Script

if TYPE_CHECKING:
    from hyperllama_nb.hardware import Hardware
    from hyperllama_nb.models.manifest import Manifest

PROCESS = 32 << 20
"""Bytes that a FakeEngine's process takes, about."""

_PHASES = (
    ("Starting server", "start", "starting the server"),
    ("Initializing model pipeline", "build", "reading the model"),
    ("compiling", "compile", "compiling the model"),
    ("Compiling model took", "initialise", "preparing the model"),
    ("Server ready", "ready", "answering a first request"),
)


@dataclass
class FakeBackend:
    """A backend whose engines follow scripts.

    The n-th launch gets the n-th script, later ones the last. The first request of each launch,
    which is the service's proof of readiness, is answered whatever the script says, unless
    `ready` is false. `refusal` is raised by `check`, as if the model could not run here. `able`
    are capabilities to state beside the usual ones. `compiling` is a Python program that stands for
    the compilation of a model before its first start; None: there is nothing to compile.

    >>> backend = FakeBackend([Script(die_after=2), Script()])
    >>> service = Service(backends={"fake": backend})  # doctest: +SKIP
    """

    scripts: Sequence[Script] = (Script(),)
    name: str = "fake"
    slots: int = 4
    refusal: HyperLlamaError | None = None
    able: frozenset[str] = frozenset()
    compiling: str | None = None
    launches: list[LaunchSpec] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)

    def available(self) -> BackendInfo:
        """Return Python itself."""
        return BackendInfo(Path(sys.executable), platform.python_version())

    def hear_of(self, program: str) -> None:
        """Remember the program in `programs`."""
        self.programs.append(program)

    def place(self, manifest: "Manifest", hardware: "Hardware") -> Placement:
        """Choose the CPU."""
        del manifest, hardware
        return Placement()

    def batch(self, spec: LaunchSpec) -> int | None:
        """Return `slots`."""
        del spec
        return self.slots

    def check(self, spec: LaunchSpec, hardware: "Hardware") -> None:
        """Raise `refusal`, if there is one."""
        del spec, hardware
        if self.refusal is not None:
            raise self.refusal

    def memory(self, spec: LaunchSpec) -> Need:
        """Return the bytes of weights, key-value cache, and a Python process."""
        cache = spec.manifest.kv_bytes(spec.context, spec.batch or 1)
        return Need(spec.manifest.weights_size, cache, PROCESS)

    def command(self, spec: LaunchSpec) -> Launch:
        """Return the command line of the next script's engine."""
        script = self.scripts[min(len(self.launches), len(self.scripts) - 1)]
        self.launches.append(spec)
        script = replace(script, warmup=1)
        options = (
            *("--socket", str(spec.socket), "--script", script.to_json()),
            *("--model", spec.manifest.name.display),
        )
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return Launch(
            (sys.executable, "-P", "-m", "hyperllama_nb.testing", *options),
            {**kept, "TMPDIR": str(spec.workdir)},
        )

    def launch(self, spec: LaunchSpec) -> str | None:
        """Return the name of what is launched."""
        del spec
        return "a scripted engine"

    def warm(self, spec: LaunchSpec) -> Warmup | None:
        """Return how to run `compiling`, whose working directory is the engine's; None without."""
        if self.compiling is None:
            return None
        place = spec.cache / "fake"
        place.mkdir(parents=True, exist_ok=True)
        argv = (sys.executable, "-P", "-c", self.compiling, str(place))
        key = f"{spec.manifest.digest[-16:]}-{spec.context}"
        return Warmup(Launch(argv, {"PATH": os.environ["PATH"]}), key, place)

    def capabilities(self, spec: LaunchSpec) -> frozenset[str]:
        """Return what the engine's protocol carries."""
        del spec
        able = {"ignore_eos", "token_ids", "penalties", "logprobs", "metrics"}
        return frozenset(able | self.able)

    def traits(self, spec: LaunchSpec) -> Traits:
        """Return those of an engine that computes nothing."""
        del spec
        return Traits("float32", 1, "float32")

    def most_logprobs(self, spec: LaunchSpec) -> int:
        """Return 20, the most that Ollama's API knows."""
        del spec
        return 20

    def params(self, spec: LaunchSpec, sampling: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters that MAX would be sent, and those that a test looks for."""
        del spec
        left_out = () if "constrain" in self.able else ("schema",)
        return {
            name: value
            for name, value in sampling.items()
            if name not in ("repeat_last_n", "typical_p", *left_out)
        }

    def phase(self, line: str) -> Phase | None:
        """Return the stage that a line of MAX's log announces."""
        for part, name, message in reversed(_PHASES):
            if part in line:
                return Phase(name, message)
        return None

    def explain(self, log_tail: Sequence[str], returncode: int | None) -> str:
        """Say the exit status and the last words."""
        words = " | ".join(line.strip() for line in log_tail[-3:]) or "nothing"
        return f"The fake engine ended with status {returncode}; its last words: {words}."

    def requests(self, launch: int = -1) -> list[dict[str, Any]]:
        """Return what the engine of a launch (by default the last) was asked, its probe excepted.

        Each is a `Request` as a dictionary; empty if the engine is gone.
        """
        return requests_of(self.launches[launch].socket)[1:]


def requests_of(path: Path) -> list[dict[str, Any]]:
    """Return what the FakeEngine on a socket was asked, each a `Request` as a dictionary.

    Empty if there is no engine.
    """
    connection = http.client.HTTPConnection("engine")
    with contextlib.suppress(OSError), contextlib.closing(connection):
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(10)
        connection.sock.connect(str(path))
        connection.request("GET", "/requests")
        asked: list[dict[str, Any]] = json.loads(connection.getresponse().read())
        return asked
    return []
