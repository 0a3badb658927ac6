"""The magics `%llm` and `%%llm`."""

from hyperllama_nb.magics._magics import HyperLlamaMagics

__all__ = ["HyperLlamaMagics"]
