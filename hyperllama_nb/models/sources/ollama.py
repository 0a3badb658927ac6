"""Models in the user's own Ollama directory: read where they lie, never changed or removed."""

import hashlib
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Self

from hyperllama_nb.errors import InvalidFileError, PullError
from hyperllama_nb.models import external
from hyperllama_nb.models.gguf.importer import import_gguf
from hyperllama_nb.models.gguf.whole import outdated
from hyperllama_nb.models.manifest import File, Manifest
from hyperllama_nb.models.names import Name
from hyperllama_nb.models.sources.layers import (
    MOST_MANIFEST,
    Layer,
    facts,
    read_listing,
    template_words,
)
from hyperllama_nb.models.work import Fetched, Staged, Work, digest, verify

VARIABLE = "OLLAMA_MODELS"

SYSTEM = Path("/usr/share/ollama/.ollama/models")
"""Where Ollama's installer for Linux has its service keep the models."""


def directories() -> list[Path]:
    """Return the directories in which Ollama may keep models, those that are there."""
    named = os.environ.get(VARIABLE)
    if named:
        places = [Path(named).expanduser()]
    else:
        places = [Path.home() / ".ollama" / "models"]
        if sys.platform == "linux":
            places.append(SYSTEM)
    return [place for place in places if _is_directory(place / "manifests")]


class OllamaSource:
    """One model of one of these directories."""

    def __init__(self, name: Name, root: Path, manifest: Path) -> None:
        self._name, self._root, self._manifest = name, root, manifest

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the source for `[host/][namespace/]model[:tag]`.

        Raises InvalidNameError, and PullError if Ollama has no such model.
        """
        name = Name.parse(text)
        source = cls.find(name)
        if source is None:
            places = " or ".join(map(str, directories())) or f"no directory ({VARIABLE} names one)"
            raise PullError(
                f"Ollama has no model {name.display} on this machine: it was looked for in "
                f"{places}. `ollama list` shows what is there."
            )
        return source

    @classmethod
    def find(cls, name: Name) -> Self | None:
        """Return the source of a name, or None; the case of the name does not matter."""
        for root in directories():
            places = [root / "manifests"]
            for part in (name.host, name.namespace, name.model, name.tag):
                places = [entry for place in places for entry in _entries(place, part)]
            for place in places:
                if place.is_file():
                    # In the case in which Ollama keeps it.
                    return cls(Name(*place.parts[-4:]), root, place)
        return None

    @property
    def text(self) -> str:
        """Return `ollama:model:tag`."""
        return f"ollama:{self._name.display}"

    def name(self) -> Name:
        """Return the name itself."""
        return self._name

    def fetch(self, work: Work, name: Name, existing: Manifest | None) -> Fetched:
        """Link to the model's file, and import it only where no backend runs it as it is."""
        data = _read(self._manifest, MOST_MANIFEST)
        revision = f"sha256:{hashlib.sha256(data).hexdigest()}"
        listing = read_listing(data, name.display)
        same = existing and (existing.source, existing.revision) == (self.text, revision)
        if existing and same and not outdated(existing, self._blob(listing.model), work):
            return Fetched(existing)
        source = self._weights(listing.model, work)
        extra = facts((layer.kind, self._text(layer)) for layer in listing.texts)
        made = import_gguf(source, work, name=name, text=self.text, revision=revision, keep=True)
        if listing.template:
            work.report(template_words(made.manifest.template))
        staged = tuple(self._named(item, work) for item in made.staged)
        return Fetched(replace(made.manifest, **extra), staged)

    def _weights(self, layer: Layer, work: Work) -> Staged:
        """Stage a link to the weights, verified unless they were before."""
        place = self._blob(layer)
        if not external.verified(place, work.blobs / layer.digest.replace(":", "-")):
            verify(digest(place, work, "verifying sha256 digest"), layer.digest, str(place))
        link = work.directory / "source.gguf.partial"
        external.link(place, link)
        return Staged(File("source.gguf", layer.digest, layer.size, "source"), link)

    def _named(self, item: Staged, work: Work) -> Staged:
        """Return weights that an engine finds by a name of their own, not through a link.

        MAX follows links, and tells a file's format by the ending that Ollama's names lack.
        """
        if item.file.role != "weights" or not item.path.is_symlink():
            return item
        place, file = item.path.readlink(), item.file
        return work.stage(place, file.path, file.role, expected=file.digest, link=True)

    def _text(self, layer: Layer) -> bytes:
        data = _read(self._blob(layer), layer.size)
        actual = f"sha256:{hashlib.sha256(data).hexdigest()}"
        verify(actual, layer.digest, f"The {layer.kind} in Ollama's directory")
        return data

    def _blob(self, layer: Layer) -> Path:
        """Return the regular file that holds a layer."""
        place = (self._root / "blobs" / layer.digest.replace(":", "-")).resolve()
        try:
            found = place.stat()
        except OSError as error:
            raise PullError(
                f"{place} cannot be read: {error.strerror}. Ask Ollama to fetch the model again "
                f"(`ollama pull {self._name.display}`)."
            ) from error
        if not stat.S_ISREG(found.st_mode) or found.st_size != layer.size:
            raise PullError(
                f"{place} does not have the {layer.size} bytes that Ollama's manifest tells. Ask "
                f"Ollama to fetch the model again (`ollama pull {self._name.display}`)."
            )
        return place


def _entries(place: Path, wanted: str) -> list[Path]:
    """Return the entries of a directory with this name in any case, the same case first."""
    try:
        names = [entry.name for entry in os.scandir(place) if entry.name.lower() == wanted.lower()]
    except OSError:
        return []
    return [place / name for name in sorted(names, key=lambda name: name != wanted)]


def _is_directory(place: Path) -> bool:
    try:
        return place.is_dir()
    except OSError:
        return False


def _read(place: Path, most: int) -> bytes:
    """Return the bytes of a file of at most `most`; raises PullError, InvalidFileError."""
    try:
        with place.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise PullError(
            f"{place} cannot be read: {error.strerror}. Check its permissions."
        ) from error
    if len(data) > most:
        raise InvalidFileError(f"{place} is longer than it should be. Pull the model again.")
    return data
