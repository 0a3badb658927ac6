"""Whether an installed backend runs a model's GGUF file as it is, asked before it is stored."""

from collections.abc import Mapping
from pathlib import Path

from hyperllama_nb.engines.base import Backend, LaunchSpec, context_rung
from hyperllama_nb.errors import CannotRunError, EngineMissingError, NotEnoughMemoryError
from hyperllama_nb.hardware import detect
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.runtime import cache_dir, engines_dir
from hyperllama_nb.service.config import HyperLlamaService


def runs_as_it_is(
    backends: Mapping[str, Backend], settings: HyperLlamaService, manifest: Manifest, source: Path
) -> bool:
    """Tell whether a backend runs a model that is nothing but its file `source`.

    Where the settings name a backend, it alone is asked. Too little memory at this moment is no
    reason against it. Blocks for some milliseconds.
    """
    asked = [settings.backend] if settings.backend else list(backends)
    return any(_runs(backends[name], manifest, source) for name in asked if name in backends)


def _runs(backend: Backend, manifest: Manifest, source: Path) -> bool:
    hardware = detect()
    home = engines_dir() / "none"
    try:
        backend.available()
        spec = LaunchSpec(
            manifest=manifest,
            directory=source.parent,
            placement=backend.place(manifest, hardware),
            context=context_rung(1, manifest.context_length),
            batch=1,
            max_queue=1,
            socket=home / "s.sock",
            workdir=home,
            cache=cache_dir(),
            source=source,
            task="embed" if "embedding" in manifest.capabilities else "generate",
        )
        backend.check(spec, hardware)
    except NotEnoughMemoryError:
        return True
    except (EngineMissingError, CannotRunError):
        return False
    return True
