"""A run as a directory: what it ran on, every request, what comes of them, and a page to read."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperllama_nb.bench.importing import max_benchmark
from hyperllama_nb.bench.records import Request
from hyperllama_nb.bench.report import report
from hyperllama_nb.errors import ConflictError, InvalidFileError

SCHEMA = 1
"""The version of `manifest.json` and `summary.json`; it grows when a reader must know."""

PARQUET, LINES = "requests.parquet", "requests.jsonl"


@dataclass(frozen=True)
class Directory:
    """A run that was read: two JSON objects and the requests in the order they were made."""

    manifest: dict[str, Any]
    summary: dict[str, Any]
    requests: tuple[Request, ...]


def check_free(directory: Path) -> None:
    """Raise ConflictError if something is there already: a run is never written over another."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConflictError(
            f"{directory} exists already, and a run does not replace another. Name a new "
            "directory, or remove this one."
        )


def write(
    directory: Path,
    manifest: Mapping[str, Any],
    summary: Mapping[str, Any],
    requests: Sequence[Request],
) -> str | None:
    """Write a run whole or not at all; returns a sentence if the requests are not in Parquet.

    Raises ConflictError if the directory holds something.
    """
    check_free(directory)
    parent = directory.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=parent))
    try:
        _json(place / "manifest.json", {"schema": SCHEMA, **manifest})
        _json(place / "summary.json", {"schema": SCHEMA, **summary})
        (place / "report.html").write_text(report(manifest, summary, requests), encoding="utf-8")
        told = _requests(place, requests)
        place.chmod(0o755)
        os.replace(place, directory)  # noqa: PTH105 - it replaces an empty directory too
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return told


def read(directory: Path | str) -> Directory:
    """Read a run back; raises InvalidFileError for what is no run, or one of a later version."""
    directory = Path(directory)
    manifest = _read(directory / "manifest.json")
    summary = _read(directory / "summary.json")
    rows: Iterable[dict[str, Any]]
    if (directory / PARQUET).exists():
        try:
            import pyarrow.parquet as parquet
        except ImportError:
            raise InvalidFileError(
                f"{directory} keeps its requests in Parquet, and pyarrow is not installed. "
                "Install it: pip install 'hyperllama_nb[bench]'."
            ) from None
        rows = parquet.read_table(directory / PARQUET).to_pylist()
    else:
        data = (directory / LINES).read_bytes()
        rows = [json.loads(line) for line in data.split(b"\n") if line]
    return Directory(manifest, summary, tuple(map(Request.from_plain, rows)))


def overlay(directory: Path | str, files: Iterable[Path | str]) -> None:
    """Lay result files of `max benchmark` over a run: into its summary and its report.

    They are shown beside the run's numbers and are in none of its comparisons. Raises
    InvalidFileError for a directory or a file that is not what it should be; the run is then as
    it was.
    """
    directory, found = Path(directory), read(directory)
    own = [*found.summary["overlays"], *map(max_benchmark, files)]
    summary = {**found.summary, "overlays": own}
    page = report(found.manifest, summary, found.requests)
    place = Path(tempfile.mkdtemp(prefix=".overlay-", dir=directory))
    try:
        _json(place / "summary.json", summary)
        (place / "report.html").write_text(page, encoding="utf-8")
        for path in place.iterdir():
            path.replace(directory / path.name)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _requests(place: Path, requests: Sequence[Request]) -> str | None:
    rows = [request.plain() for request in requests]
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError:
        lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        (place / LINES).write_text(lines, encoding="utf-8")
        return (
            f"The requests are in {LINES}, since pyarrow is not installed; "
            f"pip install 'hyperllama_nb[bench]' makes it {PARQUET}."
        )
    parquet.write_table(pa.Table.from_pylist(rows), place / PARQUET, compression="zstd")
    return None


def _json(path: Path, value: Mapping[str, Any]) -> None:
    # NaN is no JSON: a number that nobody knows is null
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidFileError(
            f"{path.parent} is not the directory of a run: {path.name} cannot be read ({error})."
        ) from None
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        raise InvalidFileError(
            f"{path} does not have the version {SCHEMA} that this version of hyperllama_nb reads. "
            "A newer one may."
        )
    return value
