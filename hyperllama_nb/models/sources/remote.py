"""One registry over HTTP: anonymous tokens, redirects, credentials that stay with the origin."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Self

import httpx

from hyperllama_nb._version import __version__
from hyperllama_nb.errors import PullError
from hyperllama_nb.models.sources.hosts import Policy, approve, host_of, place_of

MOST_REDIRECTS = 5
MOST_TOKEN = 64 << 10

_TIMEOUT = httpx.Timeout(30.0, connect=15.0)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_TOKEN = re.compile(r"[!-~]{1,16384}")


class Refused(Exception):  # noqa: N818  what a host says, not yet an error of the pull
    """An answer that says no; `status` is the origin's, 0 if another host said it."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Remote:
    """Requests to one origin.

    The token that it asks for is fetched without any credential of the user's, and sent to the
    origin alone: never along a redirect, never to a realm on a host that nobody allowed.
    """

    def __init__(
        self, origin: httpx.URL, policy: Policy, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.origin = origin
        self._policy = policy
        self._token: str | None = None
        # Compressed answers are not asked for: sizes are then those of the bytes on the wire.
        headers = {"Accept-Encoding": "identity", "User-Agent": f"hyperllama/{__version__}"}
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, headers=headers, transport=transport)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def get(
        self, path: str, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Yield the answer to a GET, after redirects and a token; its body is not read yet.

        Raises Refused for a status that is no success, PullError, and httpx.TransportError.
        """
        response = await self._answer(self.origin.join(path), dict(headers or {}))
        try:
            yield response
        finally:
            await response.aclose()

    async def _answer(self, url: httpx.URL, headers: dict[str, str]) -> httpx.Response:
        address, redirects, asked = None, 0, False
        while True:
            response = await self._send(url, headers, address)
            if response.is_success:
                return response
            await response.aclose()
            status = response.status_code
            at_home = place_of(url) == place_of(self.origin)
            if status == httpx.codes.UNAUTHORIZED and at_home and not asked:
                asked = True
                await self._ask_for_token(response.headers.get("WWW-Authenticate", ""))
            elif status in _REDIRECTS and redirects < MOST_REDIRECTS:
                redirects += 1
                url = _joined(url, response.headers.get("Location", ""))
                address = await approve(url, self.origin, self._policy)
            else:
                # An address that was given out may have expired: another try gets a new one.
                raise Refused(_words(url, status), status if at_home else 0)

    async def _send(
        self, url: httpx.URL, headers: dict[str, str], address: str | None
    ) -> httpx.Response:
        if self._token is not None and place_of(url) == place_of(self.origin):
            headers = {**headers, "Authorization": f"Bearer {self._token}"}
        if address is None:
            request = self._client.build_request("GET", url, headers=headers)
        else:
            # To the address that was looked at: a second look-up could give another one. The
            # certificate is still checked against the name.
            request = self._client.build_request(
                "GET",
                url.copy_with(host=address),
                headers={**headers, "Host": host_of(url)},
                extensions={"sni_hostname": url.host},
            )
        return await self._client.send(request, stream=True)

    async def _ask_for_token(self, challenge: str) -> None:
        """Get the token that a registry hands to everybody; raises PullError."""
        kind, _, rest = challenge.partition(" ")
        fields = dict(_CHALLENGE.findall(rest))
        if kind.lower() != "bearer" or "realm" not in fields:
            raise Refused(_words(self.origin, httpx.codes.UNAUTHORIZED), httpx.codes.UNAUTHORIZED)
        realm = _joined(self.origin, fields["realm"])
        known = realm.host == self.origin.host or self._policy.names(host_of(realm))
        if not known or realm.scheme != self.origin.scheme or realm.userinfo:
            raise PullError(
                f"{host_of(self.origin)} wants a token from {realm.scheme}://{host_of(realm)}, a "
                "host that is not allowed, so none was asked for. If that is meant, name it in the "
                "list of allowed hosts (HYPERLLAMA_PULL_HOSTS)."
            )
        asked = {name: fields[name] for name in ("service", "scope") if name in fields}
        async with self._client.stream("GET", realm.copy_merge_params(asked)) as response:
            body = await read(response, MOST_TOKEN, "token") if response.is_success else b""
        token = None
        with suppress(ValueError, RecursionError):
            answer = json.loads(body)
            if isinstance(answer, dict):
                token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
            raise Refused(_words(self.origin, httpx.codes.UNAUTHORIZED), httpx.codes.UNAUTHORIZED)
        self._token = token


async def read(response: httpx.Response, most: int, what: str) -> bytes:
    """Return a body of at most `most` bytes; raises PullError for a longer one."""
    data = b""
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) > most:
            raise PullError(
                f"The {what} from {response.url.host} is longer than {most} bytes, which none is. "
                "Check the host."
            )
    return data


def _joined(base: httpx.URL, location: str) -> httpx.URL:
    try:
        url = base.join(location).copy_with(fragment=None)
        if (url.port or 0) < 1 << 16:
            return url
    except httpx.InvalidURL:
        pass
    raise PullError(
        f"{host_of(base)} sends on to {location[:90]!r}, which is no address. Check the host."
    )


def _words(url: httpx.URL, status: int) -> str:
    """Say what a status means for a pull."""
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return (
            f"unauthorized: {host_of(url)} does not give this to everybody (HTTP {status}). Models "
            "of others are pulled by their owner alone; check the name."
        )
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return f"{host_of(url)} wants fewer requests (HTTP 429). Pull again later."
    return f"{host_of(url)} answered with HTTP {status}. Pull again later; check the name."
