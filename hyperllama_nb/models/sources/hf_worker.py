"""The process that downloads from the hub: `python -m hyperllama_nb.models.sources.hf_worker`."""

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import tqdm

_HASH_LENGTH = 64


def tell(event: str, **fields: Any) -> None:
    """Write one event."""
    print(json.dumps({"event": event, **fields}), flush=True)  # noqa: T201


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
            cls = type(self)
            cls.done_bytes = max(0, cls.done_bytes + int(n))
            done = min(cls.done_bytes, cls.total_bytes)
            tell("progress", completed=done, total=cls.total_bytes)
        return None


def main() -> None:
    """Answer one request: tell the plan, wait for the choice, download, tell the directory."""
    signal.signal(signal.SIGTERM, _stop)
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
    except LocalEntryNotFoundError:
        tell(
            "error",
            message="it is not in the cache, and the hub cannot be reached. Check the network, "
            "and that HF_HUB_OFFLINE is not set.",
        )
    except (HfHubHTTPError, OSError, ValueError, RuntimeError) as error:
        tell("error", message=f"{str(error).splitlines()[0][:300] if str(error) else 'unknown'}.")


def _serve(repository: str, revision: str | None) -> None:
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        directory = Path(
            huggingface_hub.snapshot_download(repository, revision=revision, local_files_only=True)
        )
        files = {
            path.relative_to(directory).as_posix(): _cached(path)
            for path in directory.rglob("*")
            if path.is_file()
        }
        tell("plan", revision=directory.name, files=files)
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
            repository, revision=info.sha, allow_patterns=choice["files"], tqdm_class=Bar
        )
    )
    tell("directory", path=str(directory))


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
