"""Stand-ins for tests: an engine that speaks from a script, and a model of a few kilobytes."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperllama_nb.testing.answer import Request
    from hyperllama_nb.testing.backend import FakeBackend, requests_of
    from hyperllama_nb.testing.embeddings import fake_vector
    from hyperllama_nb.testing.engine import FakeEngine
    from hyperllama_nb.testing.model import install_tiny, tiny_model
    from hyperllama_nb.testing.script import Script

__all__ = [
    "FakeBackend",
    "FakeEngine",
    "Request",
    "Script",
    "fake_vector",
    "install_tiny",
    "requests_of",
    "tiny_model",
]

_HOMES = {
    "FakeBackend": "backend",
    "FakeEngine": "engine",
    "Request": "answer",
    "Script": "script",
    "fake_vector": "embeddings",
    "install_tiny": "model",
    "requests_of": "backend",
    "tiny_model": "model",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: engines start by the hundred, and need few."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
