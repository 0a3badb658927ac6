"""All that a list of models shows: the store, the catalog, what is half pulled, and the disk."""

import shutil
from pathlib import Path
from typing import Any

from hyperllama_nb.models import unfinished
from hyperllama_nb.models.catalog import ENTRIES
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.names import Name
from hyperllama_nb.models.store import Store
from hyperllama_nb.models.work import RESERVE


def inventory(store: Store) -> dict[str, Any]:
    """Return what there is, as JSON; sizes in bytes.

    `models` are those of the store, newest first; `catalog` has what is known by name, whether the
    store has it or not; `unfinished` the pulls that broke off; `disk` what the store uses of its
    disk and what is free there. Blocks for some milliseconds.
    """
    free, total = _disk(store.root)
    # Before the models: a pull that ends meanwhile is in one of the two lists, or in both.
    broken = unfinished.find(store.root)
    return {
        "models": [_model(manifest) for manifest in store.list()],
        "catalog": [
            {
                "model": Name.parse(entry.name).display,
                "size": entry.size,
                "description": entry.description,
                "license": entry.license,
                "room": free is None or free >= entry.size + RESERVE,
            }
            for entry in ENTRIES
        ],
        "unfinished": [
            {
                "model": pull.name,
                "source": pull.source,
                "insecure": pull.insecure,
                "quantize": pull.quantize,
                "kept": pull.kept,
            }
            for pull in broken
        ],
        "disk": {
            "root": str(store.root),
            "models": unfinished.size(store.root / "blobs"),
            "partial": unfinished.size(store.root / "partial"),
            "free": free,
            "total": total,
        },
    }


def _model(manifest: Manifest) -> dict[str, Any]:
    details = manifest.details()
    return {
        "model": manifest.name.display,
        "digest": manifest.digest,
        "size": manifest.size,
        "parameters": details["parameter_size"],
        "quantization": details["quantization_level"],
        "modified_at": manifest.modified_at.isoformat(),
    }


def _disk(root: Path) -> tuple[int | None, int | None]:
    """Return the bytes that are free where the store is or will be, and those of the disk."""
    for place in (root, *root.parents):
        try:
            usage = shutil.disk_usage(place)
        except OSError:
            continue
        return usage.free, usage.total
    return None, None
