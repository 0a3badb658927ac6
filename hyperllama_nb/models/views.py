"""Directories in which an engine finds a model's files under their own names."""

import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from hyperllama_nb.models import external
from hyperllama_nb.models.manifest import Manifest


def make(root: Path, manifest: Manifest) -> Path:
    """Return the view of a model in the store at `root`, with links to the blobs.

    It stays the same for the same content, and what is wrong in it is put right.
    Raises StoreError if a blob is missing.
    """
    directory = root / "views" / _name(manifest)
    for file in manifest.files:
        if file.role == "source":
            continue
        link = directory / file.path
        blob = external.require(root / "blobs" / file.blob, str(manifest.name), file.path)
        if not (link.exists() and link.samefile(blob)):
            link.parent.mkdir(parents=True, exist_ok=True)
            _link(blob, link)
    return directory


def collect(root: Path, kept: Iterable[Manifest]) -> None:
    """Remove the views that belong to none of the models."""
    names = set(map(_name, kept))
    for view in (root / "views").glob("*"):
        if view.name not in names:
            shutil.rmtree(view, ignore_errors=True)


def _name(manifest: Manifest) -> str:
    return manifest.digest[:32]


def _link(blob: Path, link: Path) -> None:
    """Put a link in place atomically: a hard one, since engines read the name of the file."""
    scratch = link.with_name(f".{uuid.uuid4().hex}")
    try:
        try:
            os.link(blob, scratch)
        except OSError:
            scratch.symlink_to(os.path.relpath(blob, link.parent))
        scratch.replace(link)
    finally:
        scratch.unlink(missing_ok=True)
