"""How a model comes into the store: one download for all who ask, nothing half-made visible."""

import errno
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hyperllama_nb.errors import ModelNotFoundError, NoSpaceError, StoreError
from hyperllama_nb.models import unfinished
from hyperllama_nb.models.gguf.quantize import parse
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.names import Name
from hyperllama_nb.models.progress import Progress
from hyperllama_nb.models.sources import resolve
from hyperllama_nb.models.sources.hosts import Policy
from hyperllama_nb.models.sources.quantized import Quantized
from hyperllama_nb.models.work import Work

if TYPE_CHECKING:
    from hyperllama_nb.models.store import Store

_ABANDONED = 7 * 24 * 3600.0
"""Seconds after which a pull that nobody continues loses what it had downloaded."""

_POLL = 0.2
"""Seconds between two looks at a lock that another pull holds."""


def pull(
    store: "Store",
    text: str,
    name: Name | None,
    progress: Callable[[Progress], None],
    cancelled: Callable[[], bool],
    policy: Policy,
    quantize: str | None = None,
) -> Manifest:
    """Fetch, import and install a model; see `Store.pull`."""
    encoding = None if quantize is None else parse(quantize)
    source = resolve(text, policy)
    if encoding is not None and not isinstance(source, Quantized):
        source = Quantized(source, encoding)
    wanted = name or source.name()
    directory = store.root / "partial" / hashlib.sha256(wanted.key.encode()).hexdigest()[:32]
    work = Work(directory, progress, cancelled, policy.runs)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _forget_abandoned(directory.parent)
        work.report("pulling manifest")
        with _alone(work, wanted):
            directory.mkdir(parents=True, exist_ok=True)
            asked = unfinished.Unfinished(text, wanted.display, policy.insecure, quantize)
            unfinished.note(directory, asked)
            if source.text != wanted.display:
                work.report(f"pulling {source.text} as {wanted.display}")
            existing = _existing(store, wanted)
            fetched = source.fetch(work, wanted, existing)
            if fetched.manifest is not existing:
                work.report("writing manifest")
                store.install(fetched)
            shutil.rmtree(directory, ignore_errors=True)
            unfinished.forget(directory)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoSpaceError(
                f"The disk of {store.root} is full. Remove a model with `rm`, or set "
                "HYPERLLAMA_MODELS to a directory on a larger disk."
            ) from error
        raise StoreError(
            f"The store in {store.root} cannot be written: {error.strerror or error}. Check its "
            "permissions, or set HYPERLLAMA_MODELS to a directory of your own."
        ) from error
    progress(Progress("success"))
    return fetched.manifest


def _existing(store: "Store", name: Name) -> Manifest | None:
    """Return the model of this name if it is whole."""
    try:
        manifest = store.get(name)
    except ModelNotFoundError:
        return None
    except StoreError:
        # A damaged manifest is what a new pull repairs.
        return None
    return manifest if store.complete(manifest) else None


def _forget_abandoned(partial: Path) -> None:
    """Remove the downloads of pulls that failed long ago and do not run now."""
    import filelock

    for directory in partial.glob("*"):
        if not directory.is_dir() or time.time() - directory.stat().st_mtime < _ABANDONED:
            continue
        with suppress(filelock.Timeout), filelock.FileLock(_lock_path(directory), timeout=0):
            shutil.rmtree(directory, ignore_errors=True)
            unfinished.forget(directory)


def _lock_path(directory: Path) -> Path:
    return directory.with_suffix(".lock")


@contextmanager
def _alone(work: Work, name: Name) -> Iterator[None]:
    """Wait until no other pull of this name runs, and keep others out."""
    import filelock

    lock = filelock.FileLock(_lock_path(work.directory))
    told = float("-inf")
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except filelock.Timeout:
            now = time.monotonic()
            if now - told >= 1:
                told = now
                work.report(f"waiting for another pull of {name.display}")
            work.check()
            time.sleep(_POLL)
    try:
        yield
    finally:
        with suppress(OSError):
            work.directory.rmdir()
            unfinished.forget(work.directory)
        lock.release()
