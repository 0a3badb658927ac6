"""New models: made of one that is there, or of uploaded files, with settings of their own."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hyperllama_nb.errors import InvalidFileError, RequestError, StoreError
from hyperllama_nb.models.checkpoint import choose, import_checkpoint
from hyperllama_nb.models.gguf.importer import import_gguf
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.names import Name
from hyperllama_nb.models.progress import Progress
from hyperllama_nb.models.store import Store
from hyperllama_nb.models.uploads import Uploads, read_digest
from hyperllama_nb.models.work import Work, never, nobody, quiet

MOST_FILES = 1024


@dataclass(frozen=True)
class Changes:
    """What a new model has of its own; what is None or empty stays as it was.

    Options are added to those of the origin, licences too; the rest replaces.
    """

    system: str | None = None
    template: str | None = None
    licenses: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[Mapping[str, Any], ...] = ()

    def apply(self, manifest: Manifest) -> Manifest:
        """Return the manifest with these changes."""
        texts = (manifest.license_text or manifest.license, *self.licenses)
        return replace(
            manifest,
            system=self.system or manifest.system,
            template=self.template or manifest.template,
            license_text="\n".join(filter(None, texts)) if self.licenses else manifest.license_text,
            options={**manifest.options, **self.options},
            messages=self.messages or manifest.messages,
        )

    def layers(self) -> Iterator[str]:
        """Yield a digest for each change, by which clients tell them apart."""
        parts: tuple[Any, ...] = (self.template, self.system, *self.licenses)
        for part in (*parts, dict(self.options), list(self.messages)):
            if part:
                text = part if isinstance(part, str) else json.dumps(part, ensure_ascii=False)
                yield f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def derive(store: Store, origin: Name, name: Name, changes: Changes) -> Manifest:
    """Make a model of another one, whose files it shares, and return its manifest.

    What `name` meant before is replaced. Raises ModelNotFoundError if there is no `origin`.
    """
    name = store.spelled(name)

    def make(base: Manifest) -> Manifest:
        made = changes.apply(base).renamed(name)
        if made.digest == base.digest:
            return made
        # A later pull under this name must not take it for what it pulled before.
        return replace(made, source=f"model:{base.name.display}", revision=base.digest)

    return store.derive(origin, make)


def check_files(store: Store, files: Mapping[str, str]) -> dict[str, Path]:
    """Return the place of each file: names are relative paths, values digests of uploads.

    Raises RequestError for a wrong name or digest, and for what has not been uploaded.
    """
    if len(files) > MOST_FILES:
        raise RequestError(f"too many files: {len(files)}, and a model has up to {MOST_FILES}.")
    uploads = Uploads(store)
    places: dict[str, Path] = {}
    for path, digest in files.items():
        parts = path.split("/")
        if not all(part not in {"", ".", ".."} for part in parts) or set(path) & set("\\:\0"):
            raise RequestError(
                f"file path must be relative: {path[:90]!r} is not the plain name of a file."
            )
        place = uploads.find(digest)
        if place is None:
            raise RequestError(
                f'blob "{read_digest(digest)}" not found. Upload {path} with POST '
                f"/api/blobs/{read_digest(digest)}, then create the model again."
            )
        places[path] = place
    return places


def assemble(
    store: Store,
    files: Mapping[str, str],
    name: Name,
    changes: Changes,
    *,
    progress: Callable[[Progress], None] = quiet,
    cancelled: Callable[[], bool] = never,
    runs: Callable[[Manifest, Path], bool] = nobody,
    quantize: str | None = None,
) -> Manifest:
    """Make a model of uploaded files and return its manifest; blocks until it is there.

    The files are one GGUF, or safetensors with the config.json and the tokenizer that belong to
    them. `runs` tells whether a backend runs a GGUF file that cannot be imported; `quantize`
    (`q4_0`) re-encodes the weights of one. Raises what `check_files` does, InvalidFileError,
    NoSpaceError, PullCancelledError.
    """
    places = check_files(store, files)
    name = store.spelled(name)
    with _working(store, Work(_directory(store), progress, cancelled, runs, quantize)) as work:
        given = work.directory / "files"
        given.mkdir()
        names = _named(places)
        chosen = choose(names)
        for path in chosen:
            # A link of its own keeps the bytes, whatever becomes of the upload meanwhile.
            _link(places[names[path]], given / path)
        work.report("parsing the files")
        fetched = import_checkpoint(
            given,
            chosen,
            work,
            name=name,
            text=f"upload:{read_digest(next(iter(files.values())))}",
            digests={path: read_digest(files[names[path]]) for path in chosen},
            link=True,
        )
        for digest in (*(item.file.digest for item in fetched.staged), *changes.layers()):
            work.report(f"creating new layer {digest}")
        work.report("writing manifest")
        manifest = changes.apply(fetched.manifest)
        store.install(replace(fetched, manifest=manifest))
    for digest in files.values():
        Uploads(store).forget(digest)
    progress(Progress("success"))
    return manifest


def requantize(
    store: Store,
    origin: Name,
    name: Name,
    changes: Changes,
    encoding: str,
    *,
    progress: Callable[[Progress], None] = quiet,
    cancelled: Callable[[], bool] = never,
) -> Manifest:
    """Make a model of another one's GGUF file in another encoding, and return its manifest.

    It keeps what the other one has of its own. Raises ModelNotFoundError, RequestError if there
    is no such file, InvalidFileError, NoSpaceError, PullCancelledError.
    """
    base, name = store.get(origin), store.spelled(name)
    source = store.gguf(base)
    if source is None:
        raise RequestError(
            f"{encoding} is made of a GGUF file, and {base.name.display} did not come as one. Pull "
            "a GGUF file of the model, best one in F16 or Q8_0."
        )
    work = Work(_directory(store), progress, cancelled, quantize=encoding)
    with _working(store, work):
        staged = work.stage(source, "source.gguf", "source", link=True)
        text = f"model:{base.name.display}"
        made = import_gguf(staged, work, name=name, text=text, revision=base.digest)
        kept = {field: getattr(base, field) for field in _CARRIED}
        manifest = changes.apply(replace(made.manifest, **kept))
        work.report("writing manifest")
        store.install(replace(made, manifest=manifest))
    progress(Progress("success"))
    return manifest


_CARRIED = ("license", "license_text", "messages", "options", "system", "template")
"""What a manifest has that is not of the weights."""


def _directory(store: Store) -> Path:
    return store.root / "partial" / f"create-{uuid.uuid4().hex}"


@contextmanager
def _working(store: Store, work: Work) -> Iterator[Work]:
    """Have the work's directory for the block; raises StoreError where it cannot be written."""
    try:
        work.directory.mkdir(parents=True)
        yield work
    except OSError as error:
        raise StoreError(
            f"The store in {store.root} cannot be written: {error.strerror or error}. Check its "
            "permissions and the space on its disk."
        ) from error
    finally:
        shutil.rmtree(work.directory, ignore_errors=True)


def _named(places: Mapping[str, Path]) -> dict[str, str]:
    """Return the name that each file gets here, and the one under which it was given.

    What begins like a GGUF file is one, whatever it is called: clients name a file after its path
    or its digest. Raises InvalidFileError where the files are more than one model.
    """
    ggufs = [file for file, place in places.items() if _is_gguf(file, place)]
    if len(ggufs) == 1 == len(places):
        return {"source.gguf": ggufs[0]}
    if ggufs:
        raise InvalidFileError(
            f"There are {len(places)} files, {len(ggufs)} of them GGUF, and a model is one GGUF "
            "file, or safetensors with their config.json. Merge the parts of a split file first, "
            "and leave out projectors and adapters."
        )
    names: dict[str, str] = {}
    for file in places:
        name = file.rpartition("/")[2]
        if name in names:
            raise RequestError(f"Two of the files are called {name}. Give each its own name.")
        names[name] = file
    return names


def _is_gguf(file: str, place: Path) -> bool:
    with place.open("rb") as content:
        return file.lower().endswith(".gguf") or content.read(4) == b"GGUF"


def _link(place: Path, link: Path) -> None:
    try:
        os.link(place.resolve(), link)
    except OSError:
        shutil.copyfile(place, link)
