"""Run language models from a notebook."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hyperllama_nb._version import __version__

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from hyperllama_nb.client import (
        AsyncClient,
        Client,
        Engine,
        Response,
        Stream,
        achat,
        chat,
        generate,
        load,
    )
    from hyperllama_nb.errors import HyperLlamaError
    from hyperllama_nb.magics._conversations import conversations

__all__ = [
    "AsyncClient",
    "Client",
    "Engine",
    "HyperLlamaError",
    "Response",
    "Stream",
    "__version__",
    "achat",
    "chat",
    "conversations",
    "generate",
    "load",
    "load_ipython_extension",
    "unload_ipython_extension",
]

_HOMES = dict.fromkeys(__all__, "hyperllama_nb.client")
_HOMES["HyperLlamaError"] = "hyperllama_nb.errors"
_HOMES["conversations"] = "hyperllama_nb.magics._conversations"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: loading the extension must stay cheap."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Tell the Jupyter server where its door to the engine service is."""
    from hyperllama_nb.serverextension.app import HyperLlamaApp

    return [{"module": "hyperllama_nb.serverextension.app", "app": HyperLlamaApp}]


def load_ipython_extension(shell: "InteractiveShell") -> None:
    """Register `%llm` and `%%llm`; called by `%load_ext hyperllama_nb`."""
    from hyperllama_nb.magics import HyperLlamaMagics

    magics = HyperLlamaMagics(shell)
    shell.register_magics(magics)
    magics.hooks.install()


def unload_ipython_extension(shell: "InteractiveShell") -> None:
    """Take back what `load_ipython_extension` did; conversations stay for the next load."""
    shell.magics_manager.registry["HyperLlamaMagics"].hooks.remove()
