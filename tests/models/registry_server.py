"""A registry on the loopback address that speaks Ollama's protocol, and errs on request."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.models.gguf_files import tiny_llama

PREFIX = "application/vnd.ollama.image."
TOKEN = "a-token"

PIECE = 5_000
"""Bytes that are sent at once before a download stops."""

GGUF = tiny_llama()
MODEL = {
    "model": GGUF,
    "template": b"{{ .Prompt }}",
    "system": b"Be brief.",
    "params": json.dumps({"stop": ["<|im_end|>"], "temperature": 0.5, "backend": "x"}).encode(),
    "license": b"A licence.",
    "messages": json.dumps([{"role": "user", "content": "Hi"}]).encode(),
}


def digest_of(data: bytes) -> str:
    """Return the digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def listing(blobs: Mapping[str, bytes] | list[tuple[str, bytes]]) -> dict[str, Any]:
    """Return the manifest of layers, by the last part of their media type."""
    layers = blobs.items() if isinstance(blobs, Mapping) else blobs
    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": digest_of(b"{}"),
            "size": 2,
        },
        "layers": [
            {"mediaType": f"{PREFIX}{kind}", "digest": digest_of(data), "size": len(data)}
            for kind, data in layers
        ],
    }


@dataclass
class Registry:
    """What is served, what goes wrong on purpose, and what was asked."""

    manifests: dict[str, Any] = field(default_factory=dict)
    """By `namespace/model:tag`; bytes are sent as they are."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    """By digest; the bytes that are sent, whatever the digest says."""
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the next downloads break off, one for each."""
    stall: int | None = None
    """Bytes after which downloads stop until the server ends."""
    pause: float = 0.0
    """Seconds after each piece of those bytes."""
    endless: bool = False
    announce: int | None = None
    """A Content-Length that is not the true one."""
    ranges: bool = True
    """Whether a part can be asked for."""
    shift: int = 0
    """Bytes by which an answer's range is not the one asked for."""
    statuses: list[int] = field(default_factory=list)
    """Answers to the next downloads in place of the bytes."""
    location: str | None = None
    """Where downloads are sent on to; `{digest}` is filled in."""
    realm: str | None = None
    """Where the token is, if one is asked for."""
    token: Any = TOKEN
    host: str = ""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def put(self, name: str, blobs: Mapping[str, bytes] | list[tuple[str, bytes]]) -> None:
        """Publish a model."""
        self.manifests[name] = listing(blobs)
        layers = blobs.items() if isinstance(blobs, Mapping) else blobs
        self.blobs |= {digest_of(data): data for _, data in layers}

    def name(self, name: str) -> str:
        """Return the text that pulls a model from here."""
        return f"http://{self.host}/{name}"

    def asked(self, part: str) -> list[dict[str, str]]:
        """Return the headers of the requests whose path has this part."""
        return [headers for path, headers in self.requests if part in path]


@contextmanager
def serve(registry: Registry) -> Iterator[Registry]:
    """Serve the registry while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            registry.requests.append((self.path, headers))
            path = self.path.partition("?")[0]
            if path == "/token":
                self._send(200, json.dumps({"token": registry.token}).encode())
                return
            if registry.realm and headers.get("authorization") != f"Bearer {TOKEN}":
                challenge = f'Bearer realm="{registry.realm}",service="s",scope="repository:x:pull"'
                self._send(401, b"{}", {"WWW-Authenticate": challenge})
                return
            found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/(.+)", path)
            if found and found[2] == "manifests":
                self._manifest(f"{found[1]}:{found[3]}")
            elif found and found[3] in registry.blobs:
                self._blob(found[3], headers.get("range"))
            else:
                self._send(404, b"{}")

        def _manifest(self, name: str) -> None:
            content = registry.manifests.get(name)
            if content is None:
                self._send(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
                return
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self._send(200, data)

        def _blob(self, digest: str, asked: str | None) -> None:
            if registry.location:
                where = registry.location.format(digest=digest)
                self._send(307, b"", {"Location": where})
                return
            if registry.statuses:
                self._send(registry.statuses.pop(0), b"{}")
                return
            data = registry.blobs[digest]
            found = re.fullmatch(r"bytes=(\d+)-", asked or "") if registry.ranges else None
            start = int(found[1]) if found else 0
            self.send_response(206 if found else 200)
            if found:
                shown = start + registry.shift
                self.send_header("Content-Range", f"bytes {shown}-{len(data) - 1}/{len(data)}")
            if registry.endless:
                self.send_header("Connection", "close")
            else:
                length = registry.announce or len(data) - start
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self._body(data[start:])

        def _body(self, data: bytes) -> None:
            self.close_connection = True
            if registry.cuts:
                self.wfile.write(data[: registry.cuts.pop(0)])
            elif registry.stall is not None:
                for start in range(0, registry.stall, PIECE):
                    self.wfile.write(data[start : min(start + PIECE, registry.stall)])
                    self.wfile.flush()
                    time.sleep(registry.pause)
                registry.stalled.set()
                registry.ended.wait(60)
            else:
                self.wfile.write(data)
                while registry.endless:
                    self.wfile.write(b"x" * 65536)

        def _send(self, status: int, data: bytes, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def handle(self) -> None:
            # The client may go at any moment, in some tests on purpose.
            with suppress(ConnectionError):
                super().handle()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    registry.host = f"127.0.0.1:{server.server_address[1]}"
    try:
        yield registry
    finally:
        registry.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
