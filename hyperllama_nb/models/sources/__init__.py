"""Where models come from."""

from hyperllama_nb.models.sources.base import Source, resolve

__all__ = ["Source", "resolve"]
