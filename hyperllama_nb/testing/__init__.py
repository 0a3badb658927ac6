"""Stand-ins for tests: an engine that speaks from a script, and a model of a few kilobytes."""

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
