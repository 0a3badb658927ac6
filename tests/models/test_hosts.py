"""A pull reaches the hosts that were named, and a redirect nothing inside this network."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.errors import ForbiddenError, InvalidNameError, PullError, RequestError
from hyperllama_nb.models import Name, Store
from hyperllama_nb.models.names import DEFAULT_HOST
from hyperllama_nb.models.sources import resolve
from hyperllama_nb.models.sources.hosts import Policy, approve, default_hosts, hosts_of, is_public
from hyperllama_nb.models.sources.remote import Remote

ORIGIN = httpx.URL("https://registry.example")
NAMED = Policy(hosts=frozenset({"registry.example", "files.example"}))


def test_hosts_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERLLAMA_PULL_HOSTS", "A.example, 127.0.0.1:5000 ,")
    assert default_hosts() == {"a.example", "127.0.0.1:5000"}
    assert Policy().names("A.EXAMPLE")
    monkeypatch.delenv("HYPERLLAMA_PULL_HOSTS")
    assert default_hosts() == {DEFAULT_HOST, "hf.co"}
    assert hosts_of("") == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        *(
            "other.example/ns/m",
            "127.0.0.1:5000/ns/m",
            "localhost/ns/m",
            "registry.example:444/a/m",
        ),
        *("registry.example.evil/a/m", "hf.co/org/repo", "huggingface.co/org/repo", "hf:org/repo"),
        *("llama3.2", "ns/model:tag"),
    ],
)
def test_other_hosts_are_forbidden_in_words(text: str) -> None:
    with pytest.raises(ForbiddenError, match=r"HYPERLLAMA_PULL_HOSTS=.*registry\.example"):
        resolve(text, NAMED)


@pytest.mark.parametrize("host", ["hf.co", "huggingface.co", "HF.co"])
def test_both_names_of_the_hub_are_one(host: str) -> None:
    policy = Policy(hosts=frozenset({"hf.co"}))
    assert resolve(f"{host}/org/repo:Q4_0", policy).name() == Name.parse(f"{host}/org/repo:Q4_0")
    assert resolve("hf:org/repo", policy).text == "hf:org/repo"


def test_forbidden_host_is_not_asked(store: Store) -> None:
    with pytest.raises(ForbiddenError):
        store.pull("127.0.0.1:9/ns/m", policy=NAMED)
    assert not store.root.exists()


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return Store(tmp_path / "models")


@pytest.mark.parametrize("text", ["pypi:a==1", "file:/tmp/x.gguf", "ollama:llama3.2"])
def test_what_lies_here_needs_admin(text: str) -> None:
    with pytest.raises(ForbiddenError, match="scope admin"):
        resolve(text, Policy(local=False))


def test_catalog_needs_no_scope_of_its_own() -> None:
    assert resolve("smollm2:135m", Policy(hosts=frozenset(), local=False)).text.startswith("pypi:")


# -- plain HTTP --------------------------------------------------------------------------------


def test_names_are_asked_for_over_https() -> None:
    assert NAMED.origin("https", "registry.example") == ORIGIN
    insecure = Policy(hosts=NAMED.hosts, insecure=True)
    assert insecure.origin("https", "registry.example") == ORIGIN


def test_plain_http_has_to_be_asked_for() -> None:
    policy = Policy(hosts=frozenset({"127.0.0.1:5000"}))
    with pytest.raises(RequestError, match=r"^insecure protocol http"):
        policy.origin("http", "127.0.0.1:5000")
    assert policy.origin("https", "127.0.0.1:5000").scheme == "https"


@pytest.mark.parametrize("host", ["127.0.0.1:5000", "localhost:5000", "127.8.9.1"])
def test_plain_http_to_this_machine(host: str) -> None:
    policy = Policy(hosts=frozenset({host}), insecure=True)
    assert policy.origin("https", host) == httpx.URL(f"http://{host}")
    assert policy.origin("http", host) == httpx.URL(f"http://{host}")


@pytest.mark.parametrize("host", ["registry.example", "10.0.0.1:5000", "127.0.0.1.example"])
def test_plain_http_to_another_machine(host: str) -> None:
    policy = Policy(hosts=frozenset({host}), insecure=True)
    with pytest.raises(RequestError, match="another one"):
        policy.origin("http", host)


@pytest.mark.parametrize("host", ["a:b:c", "a:99999999999", "a..b:x"])
def test_host_that_is_none(host: str) -> None:
    with pytest.raises(InvalidNameError):
        resolve(f"{host}/ns/m", Policy(hosts=frozenset({host})))


# -- redirects ---------------------------------------------------------------------------------


def allowed(url: str, policy: Policy = NAMED, origin: httpx.URL = ORIGIN) -> str | None:
    return asyncio.run(approve(httpx.URL(url), origin, policy))


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every name mean these addresses."""
    found: list[str] = []

    def look_up(host: str, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        kinds = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            (kinds[ipaddress.ip_address(a).version], socket.SOCK_STREAM, 6, "", (a, port))
            for a in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return found


def test_hosts_that_were_named_are_reached_by_their_name(addresses: list[str]) -> None:
    addresses.append("10.0.0.1")
    assert allowed("https://registry.example/x") is None
    assert allowed("https://files.example/x") is None


def test_public_host_is_reached_at_the_address_that_was_looked_at(addresses: list[str]) -> None:
    addresses.append("93.184.216.34")
    assert allowed("https://cdn.example/x") == "93.184.216.34"
    assert allowed("https://1.1.1.1/x") == "1.1.1.1"


PRIVATE = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0"),
    *("100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_redirect_into_this_network_is_refused(addresses: list[str], address: str) -> None:
    addresses.append(address)
    with pytest.raises(PullError, match="private network"):
        allowed("https://cdn.example/x")
    literal = f"[{address}]" if ":" in address else address
    with pytest.raises(PullError, match="private network"):
        allowed(f"https://{literal}/x")
    addresses.insert(0, "93.184.216.34")
    with pytest.raises(PullError, match="private network"):
        allowed("https://cdn.example/x")


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="127.0.0.0/8"))
def test_no_spelling_of_a_private_address_is_public(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    assert not is_public(address)
    for prefix in (0xFFFF << 32, int(ipaddress.IPv6Address("64:ff9b::"))):
        assert not is_public(ipaddress.IPv6Address(prefix | number))
    assert not is_public(ipaddress.IPv6Address((0x2002 << 112) | (number << 80)))


@pytest.mark.parametrize(
    "url",
    [
        *("http://cdn.example/x", "http://registry.example/x", "ftp://cdn.example/x", "file:///x"),
        *("https://user:secret@cdn.example/x", "https:///x", "data:,x"),
    ],
)
def test_redirect_that_is_never_followed(addresses: list[str], url: str) -> None:
    addresses.append("93.184.216.34")
    with pytest.raises(PullError, match="nothing was fetched"):
        allowed(url)


def test_unknown_name(addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(PullError, match="is not known"):
        allowed("https://cdn.example/x")


def test_proxy_looks_names_up_itself(addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert allowed("https://cdn.example/x") is None
    with pytest.raises(PullError, match="private network"):
        allowed("https://169.254.169.254/x")


def test_registry_on_this_machine_may_keep_its_files_here() -> None:
    origin = httpx.URL("http://127.0.0.1:5000")
    assert allowed("http://127.0.0.1:6000/x", NAMED, origin) is None
    with pytest.raises(PullError, match="not encrypted"):
        allowed("http://10.0.0.1/x", NAMED, origin)


def test_redirect_carries_no_token_and_keeps_the_name_of_the_host(addresses: list[str]) -> None:
    """The request goes to the address; the certificate is checked against the name."""
    addresses.append("93.184.216.34")
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.url.path == "/token":
            return httpx.Response(200, content=streamed(b'{"token": "secret"}'))
        if request.url.host == "93.184.216.34":
            return httpx.Response(200, content=streamed(b"data"))
        if "authorization" not in request.headers:
            challenge = 'Bearer realm="https://registry.example/token",service="s"'
            return httpx.Response(401, headers={"WWW-Authenticate": challenge})
        return httpx.Response(307, headers={"Location": "https://cdn.example:8443/data?sig=1"})

    async def streamed(data: bytes) -> AsyncIterator[bytes]:
        yield data

    async def fetch() -> None:
        async with (
            Remote(ORIGIN, NAMED, httpx.MockTransport(answer)) as remote,
            remote.get("/v2/x") as response,
        ):
            assert await response.aread() == b"data"

    asyncio.run(fetch())
    last = seen[-1]
    assert str(last.url) == "https://93.184.216.34:8443/data?sig=1"
    assert last.headers["host"] == "cdn.example:8443"
    assert last.extensions["sni_hostname"] == "cdn.example"
    assert "authorization" not in last.headers
    assert [r.headers.get("authorization") for r in seen[:3]] == [None, None, "Bearer secret"]
