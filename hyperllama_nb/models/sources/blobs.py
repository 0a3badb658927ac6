"""Fetch one blob of a registry: resumed, bounded, and hashed while it arrives."""

import asyncio
import hashlib
import re
from pathlib import Path

import httpx

from hyperllama_nb.errors import IntegrityError, PullError
from hyperllama_nb.models.sources.hosts import host_of
from hyperllama_nb.models.sources.layers import Layer
from hyperllama_nb.models.sources.remote import Refused, Remote
from hyperllama_nb.models.work import CHUNK, Work, verify

ATTEMPTS = 6
"""Connections in a row that may bring little before a download gives up."""

LITTLE = 1 << 20
"""Bytes; a connection that brought more counts as one that went well."""

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0
"""Seconds before another connection, doubled each time."""

_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")
_WORTH_A_RETRY = frozenset({0, 408, 416, 429, 500, 502, 503, 504})


async def fetch(remote: Remote, repository: str, layer: Layer, work: Work) -> Path:
    """Download a blob and return its place in the work's directory, verified.

    What an earlier pull left there is continued. Raises PullError, IntegrityError.
    """
    part = _Part(work.directory / f"{layer.digest.replace(':', '-')}.partial", layer, work)
    path = f"/v2/{repository}/blobs/{layer.digest}"
    failures = 0
    with part:
        while part.size < layer.size:
            before = part.size
            try:
                async with remote.get(path, part.headers()) as response:
                    await part.take(response)
                reason = "the connection ended early"
            except httpx.TransportError as error:
                reason = f"the connection failed ({type(error).__name__})"
            except Refused as error:
                if error.status not in _WORTH_A_RETRY:
                    raise PullError(f"{error} What was fetched is kept.") from error
                reason = str(error)
            failures = 0 if part.size - before > LITTLE else failures + 1
            if part.size < layer.size and failures == ATTEMPTS:
                raise PullError(
                    f"{layer.digest[7:19]} could not be fetched from {host_of(remote.origin)}: "
                    f"{reason.rstrip('.')}. What was fetched is kept: pull again to go on."
                )
            if part.size < layer.size:
                await asyncio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2**failures))
        work.report("verifying sha256 digest")
        part.check()
    return part.place


class _Part:
    """The file that a blob grows in; only its first `size` bytes count, and they are hashed."""

    def __init__(self, place: Path, layer: Layer, work: Work) -> None:
        self.place, self._layer, self._work = place, layer, work
        self._file = place.open("a+b")
        self.size = 0
        self._hash = hashlib.sha256()
        self._recall()

    def __enter__(self) -> None:
        """Begin; the file is closed at the end of the block."""

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def headers(self) -> dict[str, str]:
        """Return the headers that ask for the rest."""
        return {"Range": f"bytes={self.size}-"} if self.size else {}

    async def take(self, response: httpx.Response) -> None:
        """Append what a response brings.

        Raises IntegrityError where it announces or brings other bytes than the layer has, and
        httpx.TransportError.
        """
        partial = response.status_code == httpx.codes.PARTIAL_CONTENT
        if partial:
            found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != self.size:
                raise self._wrong("other bytes than were asked for")
            if found[2] not in {"*", str(self._layer.size)}:
                raise self._wrong(f"a file of {found[2]} bytes")
        elif self.size:
            self._restart()
        announced = response.headers.get("Content-Length")
        if announced is not None and announced != str(self._layer.size - self.size):
            raise self._wrong(f"{announced[:20]} bytes")
        status = f"pulling {self._layer.digest[7:19]}"
        async for chunk in response.aiter_raw():
            if self.size + len(chunk) > self._layer.size:
                self._restart()
                raise self._wrong("more bytes than that")
            self._append(chunk)
            self._work.transfer(status, self._layer.digest, self._layer.size, self.size)

    def check(self) -> None:
        """Raise IntegrityError, and forget the bytes, if they are not the promised ones."""
        self._file.flush()
        try:
            verify(f"sha256:{self._hash.hexdigest()}", self._layer.digest, "What the registry gave")
        except IntegrityError:
            self._restart()
            raise

    def _append(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._hash.update(chunk)
        self.size += len(chunk)

    def _recall(self) -> None:
        """Read what is there; more than the layer has cannot be a part of it."""
        self._file.seek(0)
        while chunk := self._file.read(CHUNK):
            self._hash.update(chunk)
            self.size += len(chunk)
            self._work.check()
        if self.size > self._layer.size:
            self._restart()

    def _restart(self) -> None:
        self._file.truncate(0)
        self.size = 0
        self._hash = hashlib.sha256()

    def _wrong(self, what: str) -> IntegrityError:
        return IntegrityError(
            f"The registry's manifest promises {self._layer.size} bytes for "
            f"{self._layer.digest[7:19]}, and its server sends {what}. Nothing was installed. Pull "
            "again; if it stays so, avoid this registry."
        )
