"""The process that downloads from the hub: `python -m hyperllama_nb.models.sources.hf_worker`."""

import json
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import (
    CacheNotFound,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import tqdm

_HASH_LENGTH = 64
_CHUNK = 1 << 20
"""Bytes between two reports, and the most that a broken connection loses."""

_telling = threading.Lock()
_counting = threading.Lock()


def tell(event: str, **fields: Any) -> None:
    """Write one event, whole: several threads tell their progress."""
    line = json.dumps({"event": event, **fields}) + "\n"
    with _telling:
        sys.stdout.write(line)
        sys.stdout.flush()


class Bar(tqdm):
    """A progress bar that is told instead of drawn; only the bytes on disk count."""

    total_bytes = 0
    done_bytes = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        name = str(kwargs.get("name", ""))
        self._counts = kwargs.get("unit") == "B" and not name.endswith(".transfer")
        with Path(os.devnull).open("w") as nowhere:
            quiet = {**kwargs, "file": nowhere, "disable": True}
            super().__init__(*args, **quiet)  # type: ignore[no-untyped-call]

    def update(self, n: float | None = 1) -> bool | None:
        """Count what arrived."""
        if self._counts and n:
            with _counting:
                Bar.done_bytes = min(max(0, Bar.done_bytes + int(n)), Bar.total_bytes)
                tell("progress", completed=Bar.done_bytes, total=Bar.total_bytes)
        return None


def main() -> None:
    """Answer one request: tell the plan, wait for the choice, download, tell the directory."""
    signal.signal(signal.SIGTERM, _stop)
    huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = _CHUNK
    request = json.loads(sys.stdin.readline())
    try:
        _serve(request["repository"], request["revision"])
    except GatedRepoError:
        tell(
            "error",
            message="its owner asks for an agreement. Accept it on the repository's page and set "
            "HF_TOKEN.",
        )
    except RevisionNotFoundError:
        tell("error", message=f"it has no revision {request['revision']!r}.")
    except RepositoryNotFoundError:
        tell("error", message="there is no such repository, or it is private and needs HF_TOKEN.")
    except (LocalEntryNotFoundError, CacheNotFound):
        tell(
            "error",
            message="it is not in the cache, and the hub cannot be reached. Check the network, "
            "and that HF_HUB_OFFLINE is not set.",
        )
    except (HfHubHTTPError, OSError, ValueError, RuntimeError) as error:
        tell("error", message=f"{str(error).splitlines()[0][:300] if str(error) else 'unknown'}.")


def _serve(repository: str, revision: str | None) -> None:
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        commit, directory = _newest(repository, revision or "main")
        found = (path for path in directory.rglob("*") if path.is_file())
        files = {path.relative_to(directory).as_posix(): _cached(path) for path in found}
        tell("plan", revision=commit, files=files)
        sys.stdin.readline()
        tell("directory", path=str(directory))
        return
    info = huggingface_hub.HfApi().model_info(repository, revision=revision, files_metadata=True)
    known = {
        sibling.rfilename: {
            "size": sibling.size,
            "sha256": sibling.lfs.sha256 if sibling.lfs else None,
            "cached": isinstance(
                huggingface_hub.try_to_load_from_cache(
                    repository, sibling.rfilename, revision=info.sha
                ),
                str,
            ),
        }
        for sibling in info.siblings or []
    }
    tell("plan", revision=info.sha, files=known)
    choice = json.loads(sys.stdin.readline())
    Bar.total_bytes = choice["total"]
    directory = Path(
        huggingface_hub.snapshot_download(
            repository, revision=revision, allow_patterns=choice["files"], tqdm_class=Bar
        )
    )
    # Asked for by its name, so that the cache knows the name offline; it may have moved on since.
    if directory.name != info.sha:
        raise RuntimeError("the repository changed during the download")
    tell("directory", path=str(directory))


def _newest(repository: str, revision: str) -> tuple[str, Path]:
    """Return the commit and directory of a revision in the cache.

    Raises LocalEntryNotFoundError.
    """
    for repo in huggingface_hub.scan_cache_dir().repos:
        if repo.repo_id != repository or repo.repo_type != "model":
            continue
        for snapshot in repo.revisions:
            if revision in {snapshot.commit_hash, *snapshot.refs}:
                return snapshot.commit_hash, snapshot.snapshot_path
    raise LocalEntryNotFoundError(repository)


def _cached(path: Path) -> dict[str, Any]:
    """Describe a file of the cache: the name of a large file's blob is its sha256."""
    blob = path.resolve().name
    return {
        "size": path.stat().st_size,
        "sha256": blob if len(blob) == _HASH_LENGTH else None,
        "cached": True,
    }


def _stop(*_: object) -> None:
    """End at once, and take along the halves of files that nobody could continue."""
    with suppress(Exception):
        import psutil

        for file in psutil.Process().open_files():
            if file.path.endswith(".incomplete"):
                Path(file.path).unlink(missing_ok=True)
    os._exit(1)


if __name__ == "__main__":
    main()
