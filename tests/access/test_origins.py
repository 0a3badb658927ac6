"""Which web pages may ask."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.access.origins import Origins
from hyperllama_nb.errors import InvalidOptionError


@given(st.text())
def test_no_page_may_ask_unless_it_is_named(origin):
    assert not Origins().allow(origin)


@pytest.mark.parametrize(
    ("named", "origin", "allowed"),
    [
        ("https://app.example", "https://app.example", True),
        ("https://app.example/", "https://app.example", True),
        ("https://APP.example", "https://app.example", True),
        ("https://app.example", "http://app.example", False),
        ("https://app.example", "https://app.example:8443", False),
        ("https://app.example", "https://app.example.evil.example", False),
        ("https://app.example", "https://app.example\n", False),
        ("https://app.example", "https://appxexample", False),
        ("http://localhost:*", "http://localhost:3000", True),
        ("http://localhost:*", "http://localhost", False),
        ("http://localhost:*", "http://localhost.evil.example:80", False),
        ("https://*.app.example", "https://a.b.app.example", True),
        ("https://*.app.example", "https://app.example", False),
        ("https://*.app.example", "https://evil.example/.app.example", False),
        ("vscode-webview://*", "vscode-webview://1abc", True),
        ("null", "null", True),
        ("https://app.example", "null", False),
        ("*", "https://anything.example", True),
        ("*", "null", True),
    ],
)
def test_names_match_whole(named, origin, allowed):
    assert Origins([named]).allow(origin) is allowed


@pytest.mark.parametrize(
    "named",
    ["app.example", "https://", "https://a.example/path", "https://u@a.example", "", "https://a b"],
)
def test_what_is_no_origin_is_said_at_the_start(named):
    with pytest.raises(InvalidOptionError, match="OLLAMA_ORIGINS"):
        Origins([named])
