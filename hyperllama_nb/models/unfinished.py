"""Pulls that broke off: what was asked for, beside what was fetched, so that they can go on."""

import json
import os
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Unfinished:
    """A pull whose files are kept; `kept` is their size in bytes.

    `source` is the text that was pulled, and `name` the model that it becomes; `insecure` and
    `quantize` are what was asked for beside it.
    """

    source: str
    name: str
    insecure: bool = False
    quantize: str | None = None
    kept: int = 0


def note(directory: Path, pull: Unfinished) -> None:
    """Leave word of a pull beside its directory."""
    fields = asdict(pull)
    del fields["kept"]
    _path(directory).write_text(json.dumps(fields), encoding="utf-8")


def forget(directory: Path) -> None:
    """Take the word away: the pull has succeeded, or nothing of it is kept."""
    _path(directory).unlink(missing_ok=True)


def find(root: Path) -> list[Unfinished]:
    """Return the pulls of the store at `root` of which something is kept; those that run, too."""
    found: list[Unfinished] = []
    for path in sorted((root / "partial").glob("*.json")):
        # It may go at any moment, and a store may be older than this file's form.
        with suppress(OSError, ValueError, TypeError):
            kept = size(path.with_suffix(""))
            if kept:
                found.append(Unfinished(**json.loads(path.read_bytes()), kept=kept))
    return found


def size(directory: Path) -> int:
    """Return the bytes of the files below a directory, links and what vanishes left out."""
    total = 0
    for place, _, names in os.walk(directory):  # which passes over directories that have gone
        for name in names:
            with suppress(OSError):
                found = Path(place, name).lstat()
                total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total


def _path(directory: Path) -> Path:
    return directory.with_suffix(".json")
