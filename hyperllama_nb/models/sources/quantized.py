"""A source whose weights are re-encoded while they are imported."""

from dataclasses import replace

from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.names import DEFAULT_TAG, Name
from hyperllama_nb.models.sources.base import Source
from hyperllama_nb.models.work import Fetched, Work


class Quantized:
    """Another source in another encoding; what it gives is told apart from the plain model."""

    def __init__(self, source: Source, encoding: str) -> None:
        self._source, self._encoding = source, encoding

    @property
    def text(self) -> str:
        """Return the other source's text and the encoding."""
        return f"{self._source.text}{self._mark}"

    def name(self) -> Name:
        """Return the other source's name, with the encoding in its tag."""
        name = self._source.name()
        if self._encoding in name.tag.lower():
            return name
        plain = name.tag.lower() == DEFAULT_TAG
        return replace(name, tag=self._encoding if plain else f"{name.tag}-{self._encoding}")

    def fetch(self, work: Work, name: Name, existing: Manifest | None) -> Fetched:
        """Download the model and import it in the encoding."""
        before = None
        if existing is not None and existing.source.endswith(self._mark):
            before = replace(
                existing,
                source=existing.source.removesuffix(self._mark),
                revision=existing.revision.removesuffix(self._mark),
            )
        made = self._source.fetch(replace(work, quantize=self._encoding), name, before)
        if existing is not None and made.manifest is before:
            return Fetched(existing)
        marked = replace(
            made.manifest,
            source=f"{made.manifest.source}{self._mark}",
            revision=f"{made.manifest.revision}{self._mark}",
        )
        return Fetched(marked, made.staged)

    @property
    def _mark(self) -> str:
        return f" in {self._encoding}"
