"""One request with an answer of lines, and how it reaches the service."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hyperllama_nb.client import _base, _fork
from hyperllama_nb.errors import HyperLlamaError

if TYPE_CHECKING:
    import httpx


class Link:
    """The way to one address: connections, and the lease on a service of the user's own.

    Connections are not kept: a new one to a Unix socket costs less than a token, and a forked child
    inherits none.
    """

    def __init__(
        self,
        host: str | None,
        *,
        start: bool,
        timeout: Any,
        headers: Mapping[str, str] | None,
    ) -> None:
        self._host, self._start = host, start
        self._options: dict[str, Any] = {"timeout": timeout, "headers": dict(headers or {})}
        self._http: tuple[int, _base.Address, httpx.Client] | None = None
        if host:
            _base.parse_host(host)

    @property
    def address(self) -> _base.Address:
        """Return the address; the environment decides anew each time where no host was given."""
        return _base.parse_host(self._host)

    @property
    def headers(self) -> dict[str, str]:
        """Return a copy of the headers that were given for every request."""
        return dict(self._options["headers"])

    @property
    def starts(self) -> bool:
        """Tell whether a service that does not run is started."""
        return self._start and self.address.own

    def http(self) -> "httpx.Client":
        """Return the HTTP client of this process and address."""
        address, made = self.address, self._http
        if made is None or made[:2] != (os.getpid(), address):
            made = self._http = (os.getpid(), address, self._connect(address))
        return made[2]

    def async_http(self) -> "httpx.AsyncClient":
        """Return an HTTP client for one request: it belongs to one event loop."""
        import httpx

        address = self.address
        if address.socket is None:
            return httpx.AsyncClient(verify=address.url.startswith("https"), **self._options)
        transport = httpx.AsyncHTTPTransport(uds=str(address.socket), verify=False)
        return httpx.AsyncClient(transport=transport, trust_env=False, **self._options)

    def _connect(self, address: _base.Address) -> "httpx.Client":
        import httpx

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        if address.socket is None:
            secure = address.url.startswith("https")
            return httpx.Client(limits=limits, verify=secure, **self._options)
        # a proxy of the environment must not come between us and a socket
        transport = httpx.HTTPTransport(uds=str(address.socket), verify=False, limits=limits)
        return httpx.Client(transport=transport, trust_env=False, **self._options)

    def prepare(self, *, fresh: bool = False) -> dict[str, str]:
        """Make sure that the service runs, and return the headers that name our lease."""
        address = self.address
        if address.socket is None or not self.starts:
            return {}
        from hyperllama_nb.client import _start

        held = _start.lease(address.socket, start=True, fresh=fresh)
        return {"X-HyperLlama-Lease": held.id}

    def check(self) -> None:
        """Raise httpx's own error where there is no socket to connect to.

        httpx leaves the socket of a failed connection to the garbage collector, and whoever waits
        for a service to come back tries often.
        """
        import httpx

        address = self.address
        if address.socket is not None and not address.socket.exists():
            raise httpx.ConnectError(os.strerror(errno.ENOENT))

    def close(self) -> None:
        """Close the connections."""
        made, self._http = self._http, None
        if made is not None and made[0] == os.getpid():
            made[2].close()


class Call:
    """A request whose answer is read line by line; `cancel` may come from any thread."""

    def __init__(
        self,
        link: Link,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._link = link
        self._method, self._path = method, path
        self._body, self._headers = body, dict(headers or {})
        self._socket: socket.socket | None = None
        self.cancelled = False

    def cancel(self) -> None:
        """End the connection at once, which cancels the generation; `lines` ends quietly."""
        self.cancelled = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def text(self) -> str:
        """Return the whole answer as text."""
        return b"".join(self._chunks()).decode(errors="replace")

    def lines(self) -> Iterator[dict[str, Any]]:
        """Send the request and yield the answer's objects.

        A service that has vanished is started once more, as long as it has said nothing. Raises
        the error of the answer, or ServiceError if the connection fails.
        """
        splitter = _base.Lines()
        for data in self._chunks():
            for line in splitter.feed(data):
                yield _base.check_line(line)
        if not self.cancelled:
            for line in splitter.end():
                yield _base.check_line(line)

    def _chunks(self) -> Iterator[bytes]:
        import httpx

        began = fresh = False
        while not self.cancelled:
            try:
                headers = {**self._headers, **self._link.prepare(fresh=fresh)}
                self._link.check()
                with self._link.http().stream(
                    self._method,
                    self._link.address.url + self._path,
                    json=self._body,
                    headers=headers,
                    extensions={"trace": self._trace},
                ) as response:
                    began = True
                    if response.status_code >= 300:
                        raise _base.http_error(
                            response.status_code, response.read(), self._link.address
                        )
                    yield from response.iter_bytes()
                return
            except httpx.TransportError as error:
                if self.cancelled:
                    return
                if self._link.starts and not began and not fresh and vanished(error):
                    fresh = True
                    continue
                raise transport_error(error, self._link.address, began=began) from None

    def _trace(self, name: str, info: Mapping[str, Any]) -> None:
        if not name.endswith(("connect_unix_socket.complete", "tcp.complete", "tls.complete")):
            return
        found = info["return_value"].get_extra_info("socket")
        if isinstance(found, socket.socket):
            self._socket = found
            _fork.guard(found)
            if self.cancelled:
                self.cancel()


def vanished(error: "httpx.TransportError") -> bool:
    """Tell whether the service ended, rather than being slow."""
    import httpx

    return isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)


def transport_error(
    error: "httpx.TransportError", address: _base.Address, *, began: bool
) -> HyperLlamaError:
    """Return our error for httpx's; `began` says that some of the answer was here."""
    import httpx

    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        return _base.timed_out(address)
    return _base.broken(address, reason) if began else _base.unreachable(address, reason)
