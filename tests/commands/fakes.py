"""A client that answers from a script, and a context that keeps what it is told."""

from typing import Any

from hyperllama_nb.commands import Context
from hyperllama_nb.errors import ModelNotFoundError, ServiceError

MODEL = {
    "model": "smollm2:135m",
    "name": "smollm2:135m",
    "digest": "0123456789abcdef" * 4,
    "size": 93_400_000,
    "modified_at": "2026-01-02T03:04:05+00:00",
    "details": {"family": "llama", "parameter_size": "135M", "quantization_level": "Q4_1"},
}
ENGINE = {
    "model": "smollm2:135m",
    "state": "ready",
    "phase": "ready",
    "message": "",
    "elapsed": 12.3,
    "backend": "max",
    "device": "cpu",
    "pid": 42,
    "context_length": 4096,
    "batch_size": 4,
    "memory": 850_000_000,
    "running": 1,
    "queued": 2,
    "tcp": False,
    "error": None,
    "expires_at": None,
    "leases": 0,
}
STATUS = {
    "protocol": 1,
    "version": "0.1.0",
    "pid": 0,
    "host": "kernel",
    "prefix": "/opt/venv",
    "runtime_dir": "/tmp/hl",
    "models_dir": "/tmp/models",
    "uptime": 75.0,
    "linger": 600.0,
    "env": {"OLLAMA_KEEP_ALIVE": "1h"},
    "backends": {"max": {"path": "/opt/venv/bin/max", "version": "26.7.0"}},
    "listeners": ["127.0.0.1:11434"],
    "leases": [{"id": "x", "kind": "kernel", "pid": 7, "models": ["smollm2:135m"]}],
    "engines": [ENGINE],
}


class FakeClient:
    """Knows one model; `engines` are what runs; `alive` says whether there is a service."""

    def __init__(self, *, alive: bool = True) -> None:
        self.alive = alive
        self.engines: list[dict[str, Any]] = [dict(ENGINE)]
        self.calls: list[tuple[Any, ...]] = []

    def list(self) -> dict[str, Any]:
        return {"models": [MODEL]}

    def show(self, model: str) -> dict[str, Any]:
        self._known(model)
        return {
            "details": MODEL["details"],
            "modified_at": MODEL["modified_at"],
            "model_info": {"llama.context_length": 8192, "llama.embedding_length": 576},
            "capabilities": ["completion"],
            "template": "first line\nsecond line",
            "parameters": 'temperature   0.2\nstop          "<end>"',
            "hyperllama": {
                "backends": {
                    "max": {"format": "filled", "memory": {"total": 1_900_000_000}},
                    "llamacpp": {"error": "no"},
                }
            },
        }

    def delete(self, model: str) -> None:
        self._known(model)
        self.calls.append(("delete", model))

    def unload(self, model: str) -> None:
        self.calls.append(("unload", model))

    def status(self) -> dict[str, Any]:
        if not self.alive:
            raise ServiceError("No service runs.")
        return {**STATUS, "engines": self.engines}

    def stop(self, *, wait: bool = True) -> None:
        self.calls.append(("stop", wait))
        self.alive = False

    def _known(self, model: str) -> None:
        if model != MODEL["model"]:
            raise ModelNotFoundError(f"There is no model {model!r}.")


class FakeContext(Context):
    """Collects results and notes."""

    def __init__(self, client: Any = None, *, cell: bool = False) -> None:
        super().__init__(client or FakeClient())
        self.cell = cell
        self.shown: list[str] = []
        self.notes: list[str] = []

    def show(self, result: Any) -> None:
        self.shown.append(str(result))

    def note(self, text: str) -> None:
        self.notes.append(text)
