"""Addresses, lines and errors."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.client import _base
from hyperllama_nb.errors import (
    BusyError,
    HyperLlamaError,
    ModelNotFoundError,
    RequestError,
    ServiceError,
)

ADDRESS = _base.Address("http://box:1")

texts = st.text() | st.sampled_from(["\u2028", "\u0085", "\r\n", "\x0b\x0c\x1c\x1e", "😀中"])
objects = st.lists(st.dictionaries(st.text(max_size=5), texts, max_size=3), max_size=6)


@given(objects, st.lists(st.integers(0, 200)), st.booleans())
def test_lines_do_not_depend_on_how_the_bytes_are_cut(objects, cuts, newline_at_the_end):
    data = "\n".join(json.dumps(o, ensure_ascii=False) for o in objects).encode()
    if newline_at_the_end and data:
        data += b"\n"
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    lines = _base.Lines()
    found = [
        line for begin, end in itertools.pairwise(edges) for line in lines.feed(data[begin:end])
    ]
    assert found + lines.end() == objects


def test_a_line_that_is_not_json_is_told_in_words():
    with pytest.raises(ServiceError, match="not a JSON object"):
        _base.Lines().feed(b"<html>\n")


@pytest.mark.parametrize("host", ["http://", "ftp://box", "http://box:abc", "http://[::1"])
def test_a_wrong_host_is_told_in_words(host):
    with pytest.raises(RequestError, match="not an address"):
        _base.parse_host(host)


def test_the_environment_names_the_host(monkeypatch):
    monkeypatch.setenv("HYPERLLAMA_HOST", "https://hub.example/u/ann/hyperllama/")
    assert str(_base.parse_host(None)) == "https://hub.example/u/ann/hyperllama"
    assert not _base.parse_host(None).own


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (404, b'{"error":"model \'x\' not found"}', ModelNotFoundError, "model 'x' not found"),
        (503, b'{"error":"full","code":"busy"}', BusyError, "full"),
        (500, b"plain words", HyperLlamaError, "plain words"),
        (502, b"", HyperLlamaError, "no explanation"),
        (500, b"[1]", HyperLlamaError, r"\[1\]"),
        (401, b'{"error":"no"}', ServiceError, "token"),
        (302, b"", ServiceError, "login"),
    ],
)
def test_an_error_of_the_wire_becomes_its_class(status, body, kind, text):
    error = _base.http_error(status, body, ADDRESS)
    assert type(error) is kind
    with pytest.raises(kind, match=text):
        raise error


def test_images_may_be_bytes_paths_or_base64(tmp_path):
    path = tmp_path / "i"
    path.write_bytes(b"ab")
    body = _base.generate_body(model="m", images=[b"ab", path, "YWI="])
    assert body["images"] == ["YWI=", "YWI=", "YWI="]


def test_a_request_needs_a_model():
    with pytest.raises(RequestError, match="No model is named"):
        _base.generate_body(model="")
