"""The Host header: what a TCP listener on this machine answers to.

A web page can make a browser send requests to 127.0.0.1 under a name of its own (DNS rebinding);
the Host header then carries that name. A Unix socket needs no such check: no browser reaches it.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable

_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")

_HEADER = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[^\[\]:/@\s]+))(?::[0-9]{1,5})?")


def host_allowed(host: str | None, extra: Iterable[str] = ()) -> bool:
    """Tell whether a request with this Host header may be answered.

    Allowed are loopback, private and unspecified addresses, `localhost`, this machine's name,
    names under .localhost, .local and .internal, and the names and addresses in `extra` (any
    case, no port, no brackets).
    The port is not looked at. A missing or malformed header is refused.

    >>> host_allowed("127.0.0.1:11434"), host_allowed("[::1]"), host_allowed("evil.example")
    (True, True, False)
    """
    match = _HEADER.fullmatch(host or "")
    if match is None:
        return False
    name = (match["six"] or match["name"]).lower().removesuffix(".")
    if name in {other.lower() for other in extra}:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        if match["six"]:
            return False
        return (
            name == "localhost"
            or (name.endswith(_LOCAL_SUFFIXES) and not name.startswith("."))
            or name == socket.gethostname().lower()
        )
    if bool(match["six"]) != (address.version == 6):
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(
        mapped.is_loopback or mapped.is_unspecified or mapped.is_link_local or _private(mapped)
    )


_PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)
"""The networks of RFC 1918 and RFC 4193; Python's `is_private` means much more than these."""


def _private(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(address in network for network in _PRIVATE if network.version == address.version)
