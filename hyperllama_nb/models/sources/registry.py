"""Models from a registry that speaks Ollama's protocol: a manifest, and blobs by their digest."""

import asyncio
import hashlib
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Self, TypeVar

import httpx

from hyperllama_nb.errors import IntegrityError, PullError
from hyperllama_nb.models.gguf.importer import import_gguf
from hyperllama_nb.models.manifest import File, Manifest
from hyperllama_nb.models.names import DEFAULT_HOST, DEFAULT_NAMESPACE, Name
from hyperllama_nb.models.sources import blobs
from hyperllama_nb.models.sources.hosts import Policy, host_of
from hyperllama_nb.models.sources.layers import (
    MANIFEST_TYPE,
    MOST_MANIFEST,
    Layer,
    Listing,
    facts,
    read_listing,
    template_words,
)
from hyperllama_nb.models.sources.remote import Refused, Remote, read
from hyperllama_nb.models.work import Fetched, Staged, Work

T = TypeVar("T")

_POLL = 0.1
_MISSING = "pull model manifest: file does not exist"
"""Ollama's words."""


class RegistrySource:
    """One tag of one model in a registry."""

    def __init__(self, name: Name, origin: httpx.URL, policy: Policy) -> None:
        self._name, self._origin, self._policy = name, origin, policy

    @classmethod
    def parse(cls, text: str, policy: Policy) -> Self:
        """Return the source for `[scheme://][host/][namespace/]model[:tag]`.

        Raises InvalidNameError, ForbiddenError for a host that is not allowed, and RequestError
        for plain HTTP where it is not.
        """
        name = Name.parse(text)
        scheme = text.partition("://")[0].lower() if "://" in text else "https"
        return cls(name, policy.origin(scheme, name.host), policy)

    @property
    def text(self) -> str:
        """Return the name, with the scheme where it is not encrypted."""
        plain = self._origin.scheme == "http"
        return f"http://{self._name.full}" if plain else self._name.display

    def name(self) -> Name:
        """Return the name itself."""
        return self._name

    def fetch(self, work: Work, name: Name, existing: Manifest | None) -> Fetched:
        """Download what is missing and import it; nothing where the registry has nothing new."""
        return _run(self._fetch(work, name, existing), work)

    async def _fetch(self, work: Work, name: Name, existing: Manifest | None) -> Fetched:
        async with Remote(self._origin, self._policy) as remote:
            data = await self._manifest(remote)
            revision = f"sha256:{hashlib.sha256(data).hexdigest()}"
            if existing is not None and (existing.source, existing.revision) == (
                self.text,
                revision,
            ):
                return Fetched(existing)
            listing = read_listing(data, name.display)
            source, texts = await self._download(remote, listing, work)
        extra = facts(texts)
        made = import_gguf(source, work, name=name, text=self.text, revision=revision)
        if listing.template:
            work.report(template_words(made.manifest.template))
        return replace(made, manifest=replace(made.manifest, **extra))

    async def _manifest(self, remote: Remote) -> bytes:
        """Return the bytes of the manifest, which is all that a redirect can change."""
        path = f"/v2/{self._repository}/manifests/{self._name.tag}"
        try:
            async with remote.get(path, {"Accept": MANIFEST_TYPE}) as response:
                return await read(response, MOST_MANIFEST, "manifest")
        except Refused as error:
            if error.status == httpx.codes.NOT_FOUND:
                raise PullError(self._missing()) from error
            raise PullError(f"pull model manifest: {error}") from error
        except httpx.TransportError as error:
            raise PullError(
                f"pull model manifest: {host_of(self._origin)} cannot be reached "
                f"({type(error).__name__}{f': {error}' if str(error) else ''}). Check the network "
                "and the name."
            ) from error

    async def _download(
        self, remote: Remote, listing: Listing, work: Work
    ) -> tuple[Staged, list[tuple[str, bytes]]]:
        """Return the staged weights, and the small layers with their contents."""
        layers = {layer.digest: layer for layer in (listing.model, *listing.texts)}
        missing = sum(_left(layer, work) for layer in layers.values())
        work.require(missing, f"The download of {self._name.display}")
        weights = _in_store(listing.model, work)
        if weights is None:
            place = await blobs.fetch(remote, self._repository, listing.model, work)
            kept = File("source.gguf", listing.model.digest, listing.model.size, "source")
            weights = Staged(kept, place)
        texts = []
        for layer in listing.texts:
            place = await blobs.fetch(remote, self._repository, layer, work)
            texts.append((layer.kind, place.read_bytes()))
        return weights, texts

    @property
    def _repository(self) -> str:
        return f"{self._name.namespace}/{self._name.model}"

    def _missing(self) -> str:
        """Say that the registry has no such model, and where it may be."""
        at_home = self._name.host.lower() == DEFAULT_HOST
        if at_home and self._name.namespace.lower() != DEFAULT_NAMESPACE:
            return (
                f"{_MISSING}. {host_of(self._origin)} has no {self._name.display}. If it is a "
                f"repository of the Hugging Face hub, pull hf.co/{self._repository}."
            )
        return f"{_MISSING}. {host_of(self._origin)} has no {self._name.display}; check the name."


def _left(layer: Layer, work: Work) -> int:
    """Return the bytes of a layer that are neither in the store nor fetched before."""
    part = work.directory / f"{layer.digest.replace(':', '-')}.partial"
    if part.exists():
        return max(0, layer.size - part.stat().st_size)
    blob = work.blobs / layer.digest.replace(":", "-")
    return 0 if blob.is_file() else layer.size


def _in_store(layer: Layer, work: Work) -> Staged | None:
    """Stage the file that another model already has, if there is one."""
    blob: Path = work.blobs / layer.digest.replace(":", "-")
    if not blob.is_file() or blob.stat().st_size != layer.size:
        return None
    try:
        return work.stage(blob, "source.gguf", "source", expected=layer.digest, link=True)
    except IntegrityError:
        blob.unlink(missing_ok=True)  # damaged on this disk; the pull brings it anew
        return None


def _run(coroutine: Awaitable[T], work: Work) -> T:
    """Return what a coroutine gives; it ends at once when the pull is cancelled.

    The loop has a thread of its own, since the caller's may already run one.
    """

    async def watched() -> T:
        task = asyncio.ensure_future(coroutine)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_POLL)
                work.check()
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    with ThreadPoolExecutor(1, thread_name_prefix="pull") as thread:
        return thread.submit(asyncio.run, watched()).result()
