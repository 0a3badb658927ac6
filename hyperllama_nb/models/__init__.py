"""The model store: names, manifests, sources, and the import of GGUF files."""

from hyperllama_nb.models.manifest import File, Manifest
from hyperllama_nb.models.names import Name
from hyperllama_nb.models.progress import Progress
from hyperllama_nb.models.store import Store

__all__ = ["File", "Manifest", "Name", "Progress", "Store"]
