"""Models from the Hugging Face hub, through its own library and cache."""

import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from hyperllama_nb.errors import InvalidFileError, InvalidNameError, PullError
from hyperllama_nb.models.checkpoint import choose, import_checkpoint
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.names import DEFAULT_TAG, Name
from hyperllama_nb.models.sources.processes import end
from hyperllama_nb.models.sources.quantizations import TO_QUANTIZE, pick
from hyperllama_nb.models.work import Fetched, Work

_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"
_SOURCE = re.compile(
    rf"({_PART}/{_PART})(/[A-Za-z0-9_][A-Za-z0-9._/-]*\.gguf)?(?:@([A-Za-z0-9._/-]{{1,100}}))?"
)
_POLL = 0.1
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubSource:
    """One revision of a repository.

    The download runs in a process of its own: it can be ended at any moment, whatever it waits
    for, and the library and its settings never enter this process.
    """

    def __init__(
        self,
        repository: str,
        file: str | None = None,
        revision: str | None = None,
        name: Name | None = None,
    ) -> None:
        self._repository, self._file, self._revision = repository, file, revision
        self._name = name

    @classmethod
    def named(cls, name: Name) -> Self:
        """Return the source for `hf.co/organisation/repository[:quantization]`."""
        return cls(f"{name.namespace}/{name.model}", name=name)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the source for `organisation/repository[/file.gguf][@revision]`.

        Raises InvalidNameError.
        """
        found = _SOURCE.fullmatch(text)
        if found is None or ".." in text:
            raise InvalidNameError(
                f"{text[:90]!r} is not a repository. Write hf:organisation/repository, with "
                "@revision or /file.gguf after it where they are wanted."
            )
        return cls(found[1], found[2][1:] if found[2] else None, found[3])

    @property
    def text(self) -> str:
        """Return `hf:organisation/repository[/file.gguf][@revision]`, or the name it came from."""
        if self._name is not None:
            return self._name.display
        file = f"/{self._file}" if self._file else ""
        return f"hf:{self._repository}{file}{f'@{self._revision}' if self._revision else ''}"

    def name(self) -> Name:
        """Return `organisation/repository`, tagged with the revision or the file where named."""
        if self._name is not None:
            return self._name
        tag = self._revision or (Path(self._file).stem if self._file else "latest")
        try:
            return Name.parse(f"{self._repository}:{re.sub(r'[^A-Za-z0-9_.-]', '-', tag)[:80]}")
        except InvalidNameError as error:
            raise InvalidNameError(
                f"No model name can be made of {self.text!r}. Give one: pull it with a name."
            ) from error

    def fetch(self, work: Work, name: Name, existing: Manifest | None) -> Fetched:
        """Download what is missing from the hub's cache and import it."""
        with _Worker(work, self._request()) as worker:
            plan = worker.event("plan")
            revision = str(plan["revision"])
            same = existing is not None and existing.source == self.text
            if existing is not None and same and existing.revision == revision:
                return Fetched(existing)
            chosen = choose(plan["files"], self._file or self._picked(plan["files"], work.quantize))
            files = {file: plan["files"][file] for file in chosen}
            missing = sum(file["size"] or 0 for file in files.values() if not file["cached"])
            total = sum(file["size"] or 0 for file in files.values())
            work.require(missing, f"The download of {self._repository}")
            worker.send({"files": chosen, "total": total})
            directory = Path(worker.event("directory")["path"])
            work.transfer(f"pulling {self._repository}", None, total, total)
        digests = {
            name: f"sha256:{file['sha256']}" for name, file in files.items() if file["sha256"]
        }
        return import_checkpoint(
            directory,
            chosen,
            work,
            name=name,
            text=self.text,
            revision=revision,
            digests=digests,
            link=True,
        )

    def _picked(self, files: Iterable[str], quantize: str | None) -> str | None:
        """Return the GGUF file to take; None leaves the choice among the other files.

        A name with a host is Ollama's, and means GGUF files where there are any; so does a
        re-encoding, which begins with one.
        """
        first = TO_QUANTIZE if quantize else ()
        if self._name is None:
            plain = any(file.endswith((".safetensors", ".bin")) for file in files)
            several = sum(file.lower().endswith(".gguf") for file in files) > 1
            with suppress(InvalidFileError):  # the choice is then said to be the caller's
                if quantize or (several and not plain):
                    return pick(files, None, self._repository, first)
            return None
        tag = self._name.tag
        wanted = None if tag.lower() == DEFAULT_TAG else tag
        found = pick(files, wanted, f"{self._name.host}/{self._repository}", first)
        if found is None and wanted is not None:
            raise InvalidFileError(
                f"{self._repository} has no GGUF files, of which {wanted!r} could be one. Pull "
                f"{self._name.host}/{self._repository}, or hf:{self._repository}@revision."
            )
        return found

    def _request(self) -> dict[str, Any]:
        return {"repository": self._repository, "revision": self._revision}


class _Worker:
    """The process that downloads: JSON lines both ways."""

    def __init__(self, work: Work, request: dict[str, Any]) -> None:
        self._work = work
        self._what = str(request["repository"])
        self._request = request
        self._lines: queue.Queue[str | None] = queue.Queue()

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile(dir=self._work.directory)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hyperllama_nb.models.sources.hf_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=self._work.directory,
            env={**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.send(self._request)
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process)
        self._reader.join()
        with suppress(BrokenPipeError):
            self._process.__exit__(None, None, None)
        self._log.close()

    def send(self, message: dict[str, Any]) -> None:
        """Write one line to the process."""
        assert self._process.stdin is not None
        # If the process has ended, `event` tells so, with the reason.
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def event(self, kind: str) -> dict[str, Any]:
        """Return the next event of a kind, telling the progress until it comes.

        Raises PullError with what the process said, PullCancelledError.
        """
        while True:
            self._work.check()
            try:
                line = self._lines.get(timeout=_POLL)
            except queue.Empty:
                continue
            if line is None:
                raise PullError(self._failure(None))
            event: dict[str, Any] = json.loads(line)
            if event["event"] == "error":
                raise PullError(self._failure(event["message"]))
            if event["event"] == "progress":
                status = f"pulling {self._what}"
                self._work.transfer(status, None, event["total"], event["completed"])
            if event["event"] == kind:
                return event

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _failure(self, message: str | None) -> str:
        if message is None:
            self._log.seek(0)
            lines = self._log.read().decode(errors="replace").split("\n")
            message = next((line for line in reversed(lines) if line.strip()), "it ended silently")
        return (
            f"{self._what} could not be fetched from the hub: {message[:500]} "
            "What was downloaded is kept: pull again to go on."
        )
