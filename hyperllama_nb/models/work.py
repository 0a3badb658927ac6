"""A pull in progress: its private directory, what it reports, and when it must stop."""

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from hyperllama_nb.errors import (
    IntegrityError,
    InvalidFileError,
    NoSpaceError,
    PullCancelledError,
)
from hyperllama_nb.models.manifest import File, Manifest
from hyperllama_nb.models.progress import Progress

CHUNK = 1 << 20
"""Bytes that are copied between two looks at `cancelled`."""

RESERVE = 64 << 20
"""Bytes that a pull leaves free on the disk."""

_INTERVAL = 0.06
"""Seconds between two reports of one transfer: Ollama's own."""


@dataclass(frozen=True)
class Staged:
    """A file of a model that lies in the pull's directory, ready to become a blob."""

    file: File
    path: Path


@dataclass(frozen=True)
class Fetched:
    """What a source gave: the manifest to write, and the files that the store may not have."""

    manifest: Manifest
    staged: tuple[Staged, ...] = ()


def never() -> bool:
    """Return False: nobody cancels."""
    return False


def quiet(progress: Progress) -> None:
    """Ignore the progress."""


def nobody(manifest: Manifest, source: Path) -> bool:
    """Return False: no backend is known."""
    del manifest, source
    return False


@dataclass
class Work:
    """The means of one pull.

    `directory` is its own, on the store's file system, and survives a pull that fails, so that
    the next one finds what was downloaded.
    """

    directory: Path
    progress: Callable[[Progress], None] = quiet
    cancelled: Callable[[], bool] = never
    runs: Callable[[Manifest, Path], bool] = nobody
    """Tells whether an installed backend can run a GGUF file as it is."""
    quantize: str | None = None
    """The encoding that the weights are to get (`q4_0`); None leaves it to the import."""
    _reported: float = field(default=0.0, init=False)
    _told: tuple[str, int] | None = field(default=None, init=False)

    @property
    def blobs(self) -> Path:
        """Return the directory of the store's files."""
        return self.directory.parent.parent / "blobs"

    def check(self) -> None:
        """Raise PullCancelledError if the caller cancelled."""
        if self.cancelled():
            raise PullCancelledError(
                "The pull was cancelled. What was downloaded is kept: pull again to go on."
            )

    def report(self, status: str) -> None:
        """Tell a new step."""
        self.check()
        self.progress(Progress(status))

    def transfer(self, status: str, digest: str | None, total: int | None, done: int) -> None:
        """Tell how far a step is, in bytes; calls that come too fast are left out."""
        self.check()
        now = time.monotonic()
        due = done == total or now - self._reported >= _INTERVAL
        if due and (status, done) != self._told:
            self._reported, self._told = now, (status, done)
            self.progress(Progress(status, digest, total, done))

    def require(self, size: int, what: str) -> None:
        """Raise NoSpaceError unless the disk has room for `size` more bytes."""
        free = shutil.disk_usage(self.directory).free
        if free < size + RESERVE:
            raise NoSpaceError(
                f"{what} needs {megabytes(size)} in {self.directory.parent.parent}, and "
                f"{megabytes(free)} are free there. Remove a model with `rm`, or set "
                "HYPERLLAMA_MODELS to a directory on a larger disk."
            )

    def write(self, path: str, role: str, content: bytes) -> Staged:
        """Stage a small file that is made here."""
        with self.writer(path, role) as writer:
            writer.write(content)
        return writer.staged

    @contextmanager
    def writer(self, path: str, role: str) -> Iterator["Writer"]:
        """Yield a writer for one file; the file is gone again if the block fails.

        Raises NoSpaceError where the disk became full meanwhile.
        """
        place = self.directory / f"{path.replace('/', '_')}.partial"
        try:
            with place.open("wb") as file:
                writer = Writer(file, place, path, role)
                yield writer
                file.flush()
                os.fsync(file.fileno())
        except BaseException as error:
            place.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise NoSpaceError(
                    f"The disk became full while {path} was written. Remove a model with `rm`, or "
                    "set HYPERLLAMA_MODELS to a directory on a larger disk."
                ) from error
            raise

    def copy(
        self, source: BinaryIO, size: int, path: str, role: str, expected: str | None = None
    ) -> Staged:
        """Stage exactly `size` bytes of an open file; `expected` is its promised digest.

        Raises InvalidFileError if the source is shorter or longer, IntegrityError if the digest
        is another one.
        """
        status = f"copying {path}" if expected is None else f"pulling {expected[7:19]}"
        with self.writer(path, role) as writer:
            while chunk := source.read(min(CHUNK, size - writer.size + 1)):
                if writer.size + len(chunk) > size:
                    break
                writer.write(chunk)
                self.transfer(status, expected, size, writer.size)
            if chunk or writer.size != size:
                raise InvalidFileError(
                    f"{path} does not have the {size} bytes that were announced. Fetch it again "
                    "from its source."
                )
            verify(writer.digest, expected, path)
        return writer.staged

    def stage(
        self,
        place: Path,
        path: str,
        role: str,
        *,
        expected: str | None = None,
        link: bool = False,
    ) -> Staged:
        """Stage a file that lies elsewhere: a copy, or a hard link where that is possible.

        Raises IntegrityError if its digest is not the expected one.
        """
        size = place.stat().st_size
        if link:
            target = self.directory / f"{path.replace('/', '_')}.partial"
            target.unlink(missing_ok=True)
            try:
                os.link(place.resolve(), target)
            except OSError:
                self.require(size, "The copy")
            else:
                actual = digest(target, self, "verifying sha256 digest")
                try:
                    verify(actual, expected, path)
                except IntegrityError:
                    target.unlink()
                    raise
                return Staged(File(path, actual, size, role), target)
        with place.open("rb") as source:
            return self.copy(source, size, path, role, expected)


class Writer:
    """A file that is hashed while it is written."""

    def __init__(self, file: BinaryIO, place: Path, path: str, role: str) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._place, self._path, self._role = place, path, role
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append the data."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    @property
    def digest(self) -> str:
        """Return the digest of what was written so far."""
        return f"sha256:{self._hash.hexdigest()}"

    @property
    def staged(self) -> Staged:
        """Return the finished file."""
        return Staged(File(self._path, self.digest, self.size, self._role), self._place)


def digest(path: Path, work: Work, status: str) -> str:
    """Return the digest of a file, telling the progress."""
    state = hashlib.sha256()
    total, done = path.stat().st_size, 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            state.update(chunk)
            done += len(chunk)
            work.transfer(status, None, total, done)
    return f"sha256:{state.hexdigest()}"


def verify(actual: str, expected: str | None, what: str) -> None:
    """Raise IntegrityError if a promised digest is not the actual one."""
    if expected is not None and actual != expected:
        raise IntegrityError(
            f"{what} has the digest {actual}, and {expected} was expected: it is damaged or is "
            "another file. Nothing was installed. Pull again; if it stays so, avoid this source."
        )


def megabytes(size: int) -> str:
    """Return a size in bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 10**9 else f"{size / 1e6:.0f} MB"
