"""A hub on the loopback address that speaks as much of the protocol as a download needs."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What is served, what went wrong on purpose, and what was asked."""

    def __init__(self, repository: str, files: Mapping[str, bytes]) -> None:
        self.repository, self.files = repository, dict(files)
        self.dropped: set[str] = set()
        """Files whose first download breaks off in the middle."""
        self.stalled = threading.Event()
        self.stalls: set[str] = set()
        """Files whose download stops after the first bytes until the server ends."""
        self.commit = COMMIT
        self.requests: list[tuple[str, str, str | None]] = []
        """Method, path and Range header of each request."""
        self.elsewhere: str | None = None
        """The URL of another hub, to which the downloads of large files are sent on."""
        self.credentials: list[str | None] = []
        """The Authorization header of each request."""
        self.url = ""
        self.ended = threading.Event()

    def downloads(self, file: str) -> list[str | None]:
        """Return the Range header of each download of a file."""
        return [
            range_ for method, path, range_ in self.requests if method == "GET" and file in path
        ]


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve the hub while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            path = self.path.split("?")[0]
            hub.requests.append((self.command, self.path, self.headers.get("Range")))
            hub.credentials.append(self.headers.get("Authorization"))
            repository = re.escape(hub.repository)
            if re.fullmatch(rf"/api/models/{repository}(/revision/[^/]+)?", path):
                self._json({"id": hub.repository, "sha": hub.commit, "siblings": _siblings(hub)})
            elif re.fullmatch(rf"/api/models/{repository}/tree/.+", path):
                self._json(_tree(hub))
            elif found := re.fullmatch(rf"/{repository}/resolve/[^/]+/(.+)", path):
                self._file(found[1], body)
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def _json(self, content: Any) -> None:
            data = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _file(self, name: str, body: bool) -> None:
            data = hub.files[name]
            range_ = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start = int(range_[1]) if range_ else 0
            away = hub.elsewhere if _large(name) else None
            self.send_response(302 if away else 206 if range_ else 200)
            if away:
                self.send_header("Location", f"{away}{self.path}")
            self.send_header("ETag", f'"{_etag(name, data)}"')
            self.send_header("X-Linked-Etag", f'"{_etag(name, data)}"')
            self.send_header("X-Linked-Size", str(len(data)))
            self.send_header("X-Repo-Commit", hub.commit)
            self.send_header("Accept-Ranges", "bytes")
            if range_:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(0 if away else len(data) - start))
            self.end_headers()
            if not body or away:
                return
            if name in hub.dropped:
                hub.dropped.discard(name)
                self.wfile.write(data[start : start + len(data) // 2])
                self.close_connection = True
                return
            if name in hub.stalls:
                self.wfile.write(data[start : start + 1000])
                self.wfile.flush()
                hub.stalled.set()
                hub.ended.wait(60)
                self.close_connection = True
                return
            self.wfile.write(data[start:])

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        hub.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _large(name: str) -> bool:
    return name.endswith((".safetensors", ".gguf"))


def _etag(name: str, data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if _large(name) else hashlib.sha1(data).hexdigest()


def _siblings(hub: Hub) -> list[dict[str, Any]]:
    return [
        {
            "rfilename": name,
            "size": len(data),
            "blobId": hashlib.sha1(data).hexdigest(),
            **(
                {"lfs": {"sha256": _etag(name, data), "size": len(data), "pointerSize": 134}}
                if _large(name)
                else {}
            ),
        }
        for name, data in hub.files.items()
    ]


def _tree(hub: Hub) -> list[dict[str, Any]]:
    return [
        {
            "type": "file",
            "path": name,
            "size": len(data),
            "oid": hashlib.sha1(data).hexdigest(),
            **(
                {"lfs": {"oid": _etag(name, data), "size": len(data), "pointerSize": 134}}
                if _large(name)
                else {}
            ),
        }
        for name, data in hub.files.items()
    ]
