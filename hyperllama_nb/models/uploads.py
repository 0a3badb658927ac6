"""Files that clients have uploaded, kept by digest until a model is made of them."""

import errno
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hyperllama_nb.errors import NoSpaceError, RequestError, StoreError, TooLargeError
from hyperllama_nb.models import external
from hyperllama_nb.models.store import Store
from hyperllama_nb.models.work import RESERVE, megabytes

MOST_BYTES = 64 << 30
"""Of one file: the largest GGUF files that fit one machine have 40 GB."""

KEPT = 24 * 3600.0
"""Seconds after which an upload that no model was made of is removed."""

_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})", re.ASCII | re.IGNORECASE)


def read_digest(text: str) -> str:
    """Return `sha256:<hex>` for a digest in either of its spellings; raises RequestError."""
    found = _DIGEST.fullmatch(text)
    if found is None:
        raise RequestError("invalid digest format: it is sha256: and 64 hexadecimal digits.")
    return f"sha256:{found[1].lower()}"


class Uploads:
    """The uploads of one store, in a directory that its collection of garbage leaves alone."""

    def __init__(self, store: Store) -> None:
        self._directory = store.root / "uploads"
        self._blobs = store.root / "blobs"

    def find(self, digest: str) -> Path | None:
        """Return the file with this digest, uploaded or part of a model; None if there is none.

        An upload that is asked for is kept for another day. Raises RequestError for a malformed
        digest.
        """
        name = _file_name(digest)
        upload = self._directory / name
        try:
            os.utime(upload)
        except OSError:
            blob = self._blobs / name
            return blob if external.intact(blob) else None
        return upload

    @contextmanager
    def receiving(self, digest: str, announced: int | None = None) -> Iterator["Upload"]:
        """Yield what takes the bytes; they are there for `find` once its `finish` returns.

        `announced` is the number of bytes to come, where it is known. Whatever goes wrong, nothing
        of the file is left. Raises RequestError for a malformed digest, TooLargeError,
        NoSpaceError, StoreError.
        """
        digest = read_digest(digest)
        self.sweep()
        self._directory.mkdir(parents=True, exist_ok=True)
        scratch = self._directory / f".{uuid.uuid4().hex}"
        try:
            _require(self._directory, announced or 0)
            with scratch.open("wb") as file:
                yield Upload(file, scratch, digest)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise _no_space(self._directory) from error
            raise StoreError(
                f"The upload cannot be written: {error.strerror or error}. Check the permissions "
                f"of {self._directory}."
            ) from error
        finally:
            scratch.unlink(missing_ok=True)

    def forget(self, digest: str) -> None:
        """Remove an upload, if there is one, that has become part of a model."""
        (self._directory / _file_name(digest)).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what was uploaded, or begun, more than a day ago and not asked for since."""
        for path in self._directory.glob("*"):
            # Another process may sweep, too.
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > KEPT:
                    path.unlink()


class Upload:
    """A file that is hashed while it arrives."""

    def __init__(self, file: BinaryIO, scratch: Path, digest: str) -> None:
        self._file, self._scratch, self._digest = file, scratch, digest
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | bytearray) -> None:
        """Append bytes; raises TooLargeError and NoSpaceError before the disk is full."""
        self.size += len(data)
        if self.size > MOST_BYTES:
            raise _too_large()
        _require(self._scratch.parent, 0)
        self._file.write(data)
        self._hash.update(data)

    def finish(self) -> None:
        """Make the file visible under its digest; raises RequestError if it has another one."""
        actual = f"sha256:{self._hash.hexdigest()}"
        if actual != self._digest:
            raise RequestError(
                f'digest mismatch, expected "{self._digest}", got "{actual}": the bytes that '
                "arrived are not the file that was announced. Upload it again."
            )
        self._file.flush()
        os.fsync(self._file.fileno())
        self._scratch.replace(self._scratch.with_name(_file_name(self._digest)))


def _file_name(digest: str) -> str:
    return read_digest(digest).replace(":", "-")


def _require(directory: Path, size: int) -> None:
    """Raise TooLargeError or NoSpaceError unless there is room for `size` more bytes."""
    if size > MOST_BYTES:
        raise _too_large()
    if shutil.disk_usage(directory).free < size + RESERVE:
        raise _no_space(directory)


def _too_large() -> TooLargeError:
    return TooLargeError(
        f"A file of more than {megabytes(MOST_BYTES)} is not taken. Pull the model instead."
    )


def _no_space(directory: Path) -> NoSpaceError:
    free = megabytes(shutil.disk_usage(directory).free)
    return NoSpaceError(
        f"The upload does not fit on the disk of {directory.parent}, of which {free} are free. "
        "Remove a model with `rm`, or set HYPERLLAMA_MODELS to a directory on a larger disk."
    )
