"""Widgets: the engine and its models, live in a notebook."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperllama_nb.widgets.benchmark import Benchmark
    from hyperllama_nb.widgets.chat import Chat
    from hyperllama_nb.widgets.models import Models
    from hyperllama_nb.widgets.monitor import Monitor

__all__ = ["Benchmark", "Chat", "Models", "Monitor"]

_HOMES = {name: f"hyperllama_nb.widgets.{name.lower()}" for name in __all__}


def __getattr__(name: str) -> Any:
    """Import a widget when it is first used: their libraries take a third of a second."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
