"""Stand-ins for tests: an engine that speaks from a script, and a model of a few kilobytes."""

from hyperllama_nb.testing.model import tiny_model

__all__ = ["tiny_model"]
