"""The door's own metrics, and the service's, on the Jupyter server's `/metrics`.

They are made once, with this module: a second application in one process shares them.
"""

import re
import socket
import time
from collections.abc import Iterable, Iterator

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from hyperllama_nb import runtime
from hyperllama_nb.errors import HyperLlamaError

PATIENCE = 0.25
"""Seconds for a whole scrape of the service: it runs in the Jupyter server's loop."""

LARGEST_ANSWER = 4 << 20
"""Bytes of metrics that are read; more is no answer of the service."""

OWN_PREFIX = "hyperllama_door_"

REQUESTS = Counter(
    "hyperllama_door_requests",
    "Requests that the door answered or refused, by the status that it sent.",
    ["route", "code"],
)
SECONDS = Histogram(
    "hyperllama_door_request_seconds",
    "Seconds from a request's arrival at the door to the last byte of its answer.",
    ["route"],
    buckets=(0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600),
)
OPEN = Gauge("hyperllama_door_open_requests", "Requests that the door is passing on.")

_NATIVE = (
    "chat",
    "copy",
    "create",
    "delete",
    "detokenize",
    "embed",
    "embeddings",
    "generate",
    "ps",
    "pull",
    "push",
    "show",
    "tags",
    "tokenize",
    "version",
)
_OPENAI = ("chat/completions", "completions", "embeddings", "models")
_ROUTES = frozenset(
    ("/", *(f"/api/{name}" for name in _NATIVE), *(f"/v1/{name}" for name in _OPENAI))
)


def route_of(path: str) -> str:
    """Return the label of a path below the door: a known route's pattern, or `other`.

    >>> route_of("/v1/models/hf.co/a/b"), route_of("/api/chat/"), route_of("/made/up")
    ('/v1/models/{name}', '/api/chat', 'other')
    """
    path = path.rstrip("/") or "/"
    if path in _ROUTES:
        return path
    if path.startswith("/v1/models/"):
        return "/v1/models/{name}"
    return "/api/blobs/{digest}" if path.startswith("/api/blobs/") else "other"


def answered(path: str, code: int, seconds: float) -> None:
    """Count a request that has ended, by its path below the door."""
    route = route_of(path)
    REQUESTS.labels(route, str(code)).inc()
    SECONDS.labels(route).observe(seconds)


class Relay(Collector):
    """Shows the service's metrics where they are asked for, and starts no service for that."""

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names are the service's, which need not run at registration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield whether the service answered in time, then the families it has told."""
        try:
            families = list(text_string_to_metric_families(_scrape()))
        except (OSError, ValueError, HyperLlamaError):
            families = []
        up = "Whether the engine service has told its metrics: 0 also where none runs."
        yield GaugeMetricFamily("hyperllama_service_up", up, float(bool(families)))
        for family in families:
            # what a Python process tells about itself, the Jupyter server tells about itself too
            if family.name.startswith("hyperllama_") and not family.name.startswith(OWN_PREFIX):
                yield family


def _scrape() -> str:
    """Return the service's `/metrics`; raises OSError or ValueError if it does not tell them."""
    deadline = time.monotonic() + PATIENCE
    data = bytearray()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(runtime.socket_path()))
        # HTTP/1.0: the end of the connection is the end of the answer, which comes in no chunks
        sock.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n")
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or len(data) > LARGEST_ANSWER:
                raise ValueError("the service's metrics do not end")
            sock.settimeout(left)
            piece = sock.recv(65536)
            if not piece:
                break
            data += piece
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    if not re.match(rb"HTTP/1\.[01] 200 ", head):
        raise ValueError("the service tells no metrics")
    length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
    if length and int(length[1]) != len(body):
        raise ValueError("the service's metrics were cut off")
    return body.decode()


RELAY = Relay()
REGISTRY.register(RELAY)
