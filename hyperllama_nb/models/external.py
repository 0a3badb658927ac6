"""Files of a model that stay where another program keeps them: links, and what they led to."""

import json
from pathlib import Path

from hyperllama_nb.errors import StoreError


def link(source: Path, place: Path) -> None:
    """Make `place` a link to a file that is not ours."""
    place.unlink(missing_ok=True)
    place.symlink_to(source)


def remember(blob: Path) -> None:
    """Note size and time of the file behind a link, whose digest has just been verified."""
    note = _note(blob)
    note.parent.mkdir(parents=True, exist_ok=True)
    scratch = note.with_suffix(".new")
    scratch.write_text(json.dumps(_state(blob.readlink())), "utf-8")
    scratch.replace(note)


def forget(blob: Path) -> None:
    """Drop the note on a link."""
    _note(blob).unlink(missing_ok=True)


def verified(source: Path, blob: Path) -> bool:
    """Tell whether this file was verified as this blob before and has not changed since."""
    try:
        return bool(json.loads(_note(blob).read_text("utf-8")) == _state(source))
    except (OSError, ValueError):
        return False


def intact(blob: Path) -> bool:
    """Tell whether a blob is there, and is what it was if it lies elsewhere."""
    if not blob.is_symlink():
        return blob.is_file()
    return blob.is_file() and verified(blob.readlink(), blob)


def require(blob: Path, model: str, path: str) -> Path:
    """Return the blob; raises StoreError if it is gone, or was changed by its owner."""
    if intact(blob):
        return blob
    if not blob.is_symlink():
        raise StoreError(f"{model} lacks its file {path}. Run `hyperllama pull {model}` again.")
    happened = "has changed" if blob.exists() else "is gone"
    raise StoreError(
        f"{model} uses the file {blob.readlink()} of another program, which {happened} since it "
        f"was pulled. Run `hyperllama pull {model}` again."
    )


def _note(blob: Path) -> Path:
    return blob.parent.parent / "external" / f"{blob.name}.json"


def _state(source: Path) -> dict[str, str | int]:
    found = source.stat()
    return {"path": str(source), "size": found.st_size, "mtime_ns": found.st_mtime_ns}
