"""Which hosts a pull may reach, over what, and where a host may send it on to."""

import asyncio
import ipaddress
import os
import socket
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from hyperllama_nb.errors import ForbiddenError, InvalidNameError, PullError, RequestError
from hyperllama_nb.models.manifest import Manifest
from hyperllama_nb.models.names import DEFAULT_HOST, HUB_HOST, HUB_HOSTS
from hyperllama_nb.models.work import nobody

VARIABLE = "HYPERLLAMA_PULL_HOSTS"

_IP = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def hosts_of(text: str) -> frozenset[str]:
    """Return the hosts in a comma list, `host` or `host:port`, in lower case.

    >>> sorted(hosts_of("Models.Example, 127.0.0.1:5000,"))
    ['127.0.0.1:5000', 'models.example']
    """
    return frozenset(host for part in text.split(",") if (host := part.strip().lower()))


def default_hosts() -> frozenset[str]:
    """Return the hosts that `HYPERLLAMA_PULL_HOSTS` names, or the registry's and the hub's."""
    return hosts_of(os.environ.get(VARIABLE) or f"{DEFAULT_HOST},{HUB_HOST}")


@dataclass(frozen=True)
class Policy:
    """What one pull may do.

    `hosts` may be asked; `insecure` speaks plain HTTP with this machine itself; `local` reads
    files of this machine and packages that the caller names; `runs` tells whether an installed
    backend can run a GGUF file as it is.
    """

    hosts: frozenset[str] = field(default_factory=default_hosts)
    insecure: bool = False
    local: bool = True
    runs: Callable[[Manifest, Path], bool] = nobody

    def names(self, host: str) -> bool:
        """Tell whether a host, with its port where it has one, is allowed."""
        wanted = HUB_HOSTS if host.lower() in HUB_HOSTS else {host.lower()}
        return not wanted.isdisjoint(self.hosts)

    def require_host(self, host: str) -> None:
        """Raise ForbiddenError unless the host is allowed."""
        if not self.names(host):
            known = sorted(self.hosts)
            raise ForbiddenError(
                f"Pulls from {host} are not allowed here (allowed: {', '.join(known) or 'none'}). "
                f"Whoever starts the service can allow it: {VARIABLE}={','.join([*known, host])}."
            )

    def require_local(self, what: str) -> None:
        """Raise ForbiddenError unless the caller may use what is on this machine."""
        if not self.local:
            raise ForbiddenError(
                f"{what} needs the scope admin, which this key does not have. Pull a model by its "
                "name in the catalog, a registry or the hub, or ask for a key with that scope."
            )

    def origin(self, scheme: str, host: str) -> httpx.URL:
        """Return the base URL of an allowed host, whose name may begin with a scheme.

        Plain HTTP is for loopback addresses alone, and has to be asked for.
        Raises ForbiddenError, and RequestError for `http` that is not wanted or not possible.
        """
        self.require_host(host)
        if scheme == "http" and not self.insecure:
            raise RequestError(
                "insecure protocol http: what it carries can be read and changed on the way. Leave "
                'http:// out, or send "insecure": true for a registry on this machine.'
            )
        try:
            url = httpx.URL(f"http://{host}")
            if not url.host or (url.port or 0) >= 1 << 16:
                raise httpx.InvalidURL("no such port")
            plain = self.insecure and is_loopback(url.host)
            if scheme == "http" and not plain:
                raise RequestError(
                    f"insecure protocol http: it is spoken with this machine alone, and {host} is "
                    "another one. Leave http:// out."
                )
            return httpx.URL(f"{'http' if plain else 'https'}://{host}")
        except httpx.InvalidURL as error:
            raise InvalidNameError(
                f"invalid model name: {host!r} is no host ({error}). Write "
                "host/namespace/model:tag."
            ) from error


def place_of(url: httpx.URL) -> tuple[str, str, int]:
    """Return scheme, host and port: what credentials belong to."""
    return url.scheme, url.host, url.port or {"http": 80}.get(url.scheme, 443)


def host_of(url: httpx.URL) -> str:
    """Return the host as a list of hosts writes it, with a port that is not the usual one."""
    return url.netloc.decode()


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its address or as `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


async def approve(target: httpx.URL, origin: httpx.URL, policy: Policy) -> str | None:
    """Return the address to connect to for a redirect; None where the name is to be used.

    A host that nobody named may be any public one (registries keep their files elsewhere), never
    one of this network: a redirect must not reach what only this machine can.
    Raises PullError.
    """
    if target.scheme not in {"http", "https"} or not target.host or target.userinfo:
        raise _refused(origin, target, "which is no web address")
    if place_of(target) == place_of(origin):
        return None
    here = is_loopback(origin.host)
    if target.scheme == "http" and not (here and is_loopback(target.host)):
        raise _refused(origin, target, "which is not encrypted")
    if here or policy.names(host_of(target)):
        return None
    if _proxied(target):
        addresses = _literal(target.host)
    else:
        addresses = _literal(target.host) or await _resolve(target)
    if not all(map(is_public, addresses)):
        raise _refused(origin, target, "which is an address of a private network")
    return str(addresses[0]) if addresses and not _proxied(target) else None


def is_public(address: _IP) -> bool:
    """Tell whether an address belongs to the public Internet; one inside another one counts."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def _literal(host: str) -> list[_IP]:
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        return []


async def _resolve(url: httpx.URL) -> list[_IP]:
    """Return the addresses of a name; one look-up, whose result is then connected to."""
    loop = asyncio.get_running_loop()
    try:
        found: Iterable[tuple[object, ...]] = await loop.getaddrinfo(
            url.host, place_of(url)[2], type=socket.SOCK_STREAM
        )
        return [ipaddress.ip_address(str(entry[4][0])) for entry in found]  # type: ignore[index]
    except (OSError, ValueError) as error:
        raise PullError(
            f"{url.host}, where the registry keeps the file, is not known: {error}. Check the "
            "network, then pull again."
        ) from error


def _proxied(url: httpx.URL) -> bool:
    """Tell whether the environment sends this URL through a proxy, which then looks names up."""
    proxies = urllib.request.getproxies()
    there = url.scheme in proxies or "all" in proxies
    return there and not urllib.request.proxy_bypass(url.host)


def _refused(origin: httpx.URL, target: httpx.URL, why: str) -> PullError:
    return PullError(
        f"{host_of(origin)} sends on to {target.scheme}://{host_of(target)}, {why}, so nothing was "
        "fetched. If that is meant, name that host in the list of allowed hosts "
        f"({VARIABLE})."
    )
