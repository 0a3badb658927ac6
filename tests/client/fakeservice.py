"""A service that answers from scripts, over a Unix socket."""

import json
import select
import socketserver
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

Answer = Iterable[bytes | dict[str, Any]]
"""Chunks of an answer as they leave; a dict is one NDJSON line. An exception breaks it off."""


class BreakOffError(Exception):
    """Raised by a script to end the connection without ending the answer."""


class FakeService(socketserver.ThreadingUnixStreamServer):
    """Answers `routes["POST /path"](body)`, which returns chunks or (status, chunks)."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _Handler)
        self.path = path
        self.routes: dict[str, Callable[[dict[str, Any]], Answer | tuple[int, Answer]]] = {}
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.leases: list[str] = []
        self.closed_leases: list[str] = []
        self.attach_status = 200
        self.gone = threading.Event()
        self.changed = threading.Condition()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is what many tests are about."""

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self.path.unlink(missing_ok=True)

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [body for found, body, _ in self.requests if found == path]

    def headers(self, path: str) -> dict[str, str]:
        return next(headers for found, _, headers in self.requests if found == path)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeService

    def log_message(self, *args: Any) -> None:
        pass

    def address_string(self) -> str:
        return "unix"

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        path = f"{self.command} {self.path}"
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((path, body, headers))
        if self.path == "/admin/attach":
            return self._attach(body)
        found = self.server.routes[path](body)
        status, chunks = found if isinstance(found, tuple) else (200, found)
        self._begin(status)
        try:
            for chunk in chunks:
                self._chunk(chunk)
                if self._client_left():
                    raise ConnectionError
            self.wfile.write(b"0\r\n\r\n")
        except ConnectionError:
            self.server.gone.set()
            self.close_connection = True
        except BreakOffError:
            self.close_connection = True
        return None

    def _attach(self, body: dict[str, Any]) -> None:
        if self.server.attach_status != 200:
            self._begin(self.server.attach_status)
            self._chunk({"error": "another protocol", "code": "protocol_mismatch"})
            self.wfile.write(b"0\r\n\r\n")
            return
        lease = f"lease-{len(self.server.leases)}"
        self.server.leases.append(lease)
        self._begin(200)
        self._chunk({"lease": lease, "status": {"protocol": 1, "host": "process", "pid": 1}})
        self.close_connection = True
        self.connection.recv(1)
        with self.server.changed:
            self.server.closed_leases.append(lease)
            self.server.changed.notify_all()

    def _begin(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, chunk: bytes | dict[str, Any]) -> None:
        data = (
            json.dumps(chunk, ensure_ascii=False).encode() + b"\n"
            if isinstance(chunk, dict)
            else chunk
        )
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _client_left(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1)


def words(*texts: str, **final: Any) -> list[dict[str, Any]]:
    """The lines of a `generate` answer."""
    lines: list[dict[str, Any]] = [
        {"model": "m", "response": text, "done": False} for text in texts
    ]
    return [*lines, {"model": "m", "response": "", "done": True, "done_reason": "stop", **final}]


def messages(*texts: str) -> list[dict[str, Any]]:
    """The lines of a `chat` answer."""
    lines = [
        {"model": "m", "message": {"role": "assistant", "content": text}, "done": False}
        for text in texts
    ]
    last = {"model": "m", "message": {"role": "assistant", "content": ""}, "done": True}
    return [*lines, {**last, "done_reason": "stop", "eval_count": len(texts)}]
