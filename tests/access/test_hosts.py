"""The Host header check."""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.access.hosts import host_allowed

PORTS = st.one_of(st.just(""), st.integers(0, 65535).map(lambda port: f":{port}"))
LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:11434",
        "localhost.",
        "127.0.0.1",
        "127.8.9.1:80",
        "0.0.0.0:11434",
        "[::1]:11434",
        "[::]",
        "[::ffff:127.0.0.1]",
        "10.0.0.7",
        "172.31.255.1",
        "192.168.1.20:8888",
        "169.254.1.1",
        "[fd12::1]",
        "[fe80::1]",
        "app.localhost",
        "printer.local:80",
        "host.docker.internal:11434",
        socket.gethostname(),
        f"{socket.gethostname().upper()}:11434",
    ],
)
def test_near_hosts_are_allowed(host):
    assert host_allowed(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:127",
        "8.8.8.8",
        "172.32.0.1",
        "192.0.2.1",
        "[2001:db8::1]",
        "[::ffff:8.8.8.8]",
        "[localhost]",
        "[127.0.0.1]",
        "::1",
        "[::1",
        "localhost:",
        "localhost:port",
        "localhost:80:80",
        "user@localhost",
        "localhost/path",
        "localhost ",
        "localhost\n",
        ".localhost",
        "2130706433",
        "0x7f000001",
        "127.1",
    ],
)
def test_other_hosts_are_refused(host):
    assert not host_allowed(host)


def test_extra_names_are_allowed_in_any_case():
    assert host_allowed("Lab.Example:11434", extra=["lab.example"])
    assert host_allowed("lab.example", extra=["LAB.example"])
    assert not host_allowed("sub.lab.example", extra=["lab.example"])


def test_extra_addresses_are_allowed():
    assert host_allowed("8.8.8.8:11434", extra=["8.8.8.8"])
    assert host_allowed("[2001:4860::1]:11434", extra=["2001:4860::1"])


@given(st.ip_addresses(network="127.0.0.0/8"), PORTS)
def test_all_of_loopback_is_allowed_with_any_port(address, port):
    assert host_allowed(f"{address}{port}")


@given(st.ip_addresses(v=4), PORTS)
def test_public_addresses_are_refused(address, port):
    assert host_allowed(f"{address}{port}") <= (not address.is_global)


@given(st.ip_addresses(v=6), PORTS)
def test_addresses_of_version_6_need_brackets(address, port):
    assert not host_allowed(f"{address}")
    mapped = ipaddress.ip_address(address).ipv4_mapped
    public = mapped.is_global if mapped else address.is_global
    assert host_allowed(f"[{address}]{port}") <= (not public)


@given(st.lists(LABEL, min_size=1, max_size=4), st.sampled_from(["com", "example", "dev"]), PORTS)
def test_public_names_are_refused(labels, top, port):
    assert not host_allowed(".".join([*labels, top]) + port)


@given(st.text())
def test_no_header_makes_it_fail(host):
    assert host_allowed(host) in {True, False}
