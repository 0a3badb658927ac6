"""A registry is believed in nothing, and gets no more credentials than its own."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.errors import (
    IntegrityError,
    InvalidFileError,
    NoSpaceError,
    NotSupportedError,
    PullError,
)
from hyperllama_nb.models import Manifest, Store
from hyperllama_nb.models.sources import layers
from hyperllama_nb.models.sources.hosts import Policy
from tests.models.registry_server import GGUF, MODEL, TOKEN, Registry, digest_of, listing, serve

Pull = Callable[..., Manifest]


def test_wrong_digest_is_refused_and_forgotten(
    registry: Registry, store: Store, pull: Pull
) -> None:
    registry.blobs[digest_of(GGUF)] = GGUF[:-1] + b"\1"
    with pytest.raises(IntegrityError, match="Nothing was installed"):
        pull()
    assert store.list() == []
    registry.blobs[digest_of(GGUF)] = GGUF
    registry.requests.clear()
    pull()
    assert "range" not in registry.asked(digest_of(GGUF))[0]


@pytest.mark.parametrize("length", [1, 10**6, 10**15])
def test_wrong_length_is_refused(registry: Registry, pull: Pull, length: int) -> None:
    registry.announce = length
    with pytest.raises(IntegrityError, match=f"sends {length} bytes"):
        pull()


def test_endless_body_is_refused(registry: Registry, store: Store, pull: Pull) -> None:
    registry.endless = True
    with pytest.raises(IntegrityError, match="more bytes"):
        pull()
    assert sum(path.stat().st_size for path in store.root.rglob("*.partial")) == 0


def test_shorter_file_than_promised(registry: Registry, pull: Pull) -> None:
    registry.manifests["library/tiny:1"]["layers"][0]["size"] += 1
    with pytest.raises(IntegrityError, match="promises"):
        pull()


def test_other_range_than_asked_for(registry: Registry, pull: Pull) -> None:
    registry.cuts, registry.shift = [5000], 1
    with pytest.raises(IntegrityError, match="other bytes than were asked for"):
        pull()


def test_no_space_is_said_before_the_download(
    registry: Registry, pull: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr("hyperllama_nb.models.work.shutil.disk_usage", lambda _: Usage)
    with pytest.raises(NoSpaceError, match=r"The download of .*tiny:1"):
        pull()
    assert not registry.asked("/blobs/")


HOSTILE = [
    {"digest": "sha256:../../../../etc/passwd"},
    {"digest": "sha256:" + "0" * 63},
    {"digest": "sha256:" + "0" * 64 + "\n"},
    {"digest": "sha256:" + "A" * 64},
    {"digest": None},
    {"size": -1},
    {"size": 1 << 63},
    {"size": 10**400},
    {"size": 1.5},
    {"size": True},
    {"size": "1"},
    {"mediaType": 1},
]


@pytest.mark.parametrize("change", HOSTILE)
def test_hostile_layers_are_refused(
    registry: Registry, store: Store, pull: Pull, change: dict[str, Any]
) -> None:
    registry.manifests["library/tiny:1"]["layers"][0] |= change
    with pytest.raises(InvalidFileError, match="damaged"):
        pull()
    assert not registry.asked("/blobs/")
    assert not list(store.root.rglob("sha256*"))


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{", b'{"layers":1}', b'{"layers":[1]}', b"[" * 100_000, b"\xff" * 9],
)
def test_what_is_no_manifest(registry: Registry, pull: Pull, content: bytes) -> None:
    registry.manifests["library/tiny:1"] = content
    with pytest.raises(InvalidFileError):
        pull()


def test_manifest_without_end(registry: Registry, pull: Pull) -> None:
    registry.manifests["library/tiny:1"] = b" " * (layers.MOST_MANIFEST + 1)
    with pytest.raises(PullError, match="longer than"):
        pull()


@pytest.mark.parametrize("count", [0, 2])
def test_model_is_one_file(registry: Registry, pull: Pull, count: int) -> None:
    registry.manifests["library/tiny:1"] = listing([("model", GGUF)] * count)
    with pytest.raises(InvalidFileError, match=f"{count} files of weights"):
        pull()


@pytest.mark.parametrize(("kind", "word"), [("adapter", "adapter"), ("projector", "images")])
def test_what_cannot_be_run_is_refused_in_words(
    registry: Registry, pull: Pull, kind: str, word: str
) -> None:
    registry.put("library/tiny:1", {**MODEL, kind: b"x"})
    with pytest.raises(NotSupportedError, match=word):
        pull()
    assert not registry.asked("/blobs/")


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("params", b"[]"),
        ("params", b"{"),
        ("params", b"[" * 9999),
        ("messages", b"{}"),
        ("messages", b"[1]"),
        ("messages", b'[{"role":"x","content":""}]'),
        ("messages", b'[{"role":"user","content":1}]'),
    ],
)
def test_damaged_small_layers(registry: Registry, pull: Pull, kind: str, content: bytes) -> None:
    registry.put("library/tiny:1", {**MODEL, kind: content})
    with pytest.raises(InvalidFileError, match=kind):
        pull()


def test_options_are_plain_values() -> None:
    params = {"a": [1], "b": {}, "Bad": 1, "num_ctx": 5, "stop": ["x"], "backend": "y", "c": None}
    text = json.dumps(params) + " "
    assert layers.facts([("params", text.encode())]) == {
        "options": {"num_ctx": 5, "stop": ["x"]},
    }
    assert layers.facts([("params", b'{"temperature": 1e999}')])["options"] == {}


@given(st.text(max_size=90))
def test_no_digest_is_a_path(text: str) -> None:
    data = json.dumps(
        {"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": text, "size": 1}]}
    )
    with suppress(InvalidFileError):
        found = layers.read_listing(data.encode(), "x").model.digest
        assert len(found) == 71
        assert not set(found) & set("./\\\n")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["layers", "mediaType", "digest", "size"]), inner)
    ),
    max_leaves=12,
)


@given(_JSON)
def test_any_json_is_a_manifest_or_refused(content: Any) -> None:
    with suppress(InvalidFileError, NotSupportedError):
        layers.read_listing(json.dumps(content).encode(), "x")


# -- credentials -------------------------------------------------------------------------------


def test_token_is_fetched_and_stays_with_the_registry(registry: Registry, pull: Pull) -> None:
    registry.realm = f"http://{registry.host}/token"
    pull()
    (asked,) = registry.asked("/token")
    assert "authorization" not in asked
    assert any("service=s&scope=repository" in path for path, _ in registry.requests)
    assert all(h["authorization"] == f"Bearer {TOKEN}" for h in registry.asked("/blobs/"))


def test_no_credentials_on_a_redirect(
    registry: Registry, store: Store, pull: Pull, policy: Policy
) -> None:
    registry.realm = f"http://{registry.host}/token"
    with serve(Registry(blobs=registry.blobs, cuts=[5000])) as other:
        registry.location = f"http://{other.host}/v2/library/tiny/blobs/{{digest}}"
        pull()
        assert other.requests
        assert not any("authorization" in headers for _, headers in other.requests)
        assert other.asked(digest_of(GGUF))[1]["range"] == "bytes=5000-"


def test_expired_address_is_asked_for_again(registry: Registry, pull: Pull) -> None:
    with serve(Registry(blobs=registry.blobs, statuses=[403, 403])) as other:
        registry.location = f"http://{other.host}/v2/library/tiny/blobs/{{digest}}"
        pull()
        assert len(other.asked(digest_of(GGUF))) == 3


def test_realm_on_another_host_is_not_asked(registry: Registry, pull: Pull) -> None:
    with serve(Registry()) as other:
        registry.realm = f"http://localhost:{other.host.partition(':')[2]}/token"
        with pytest.raises(PullError, match="not allowed, so none was asked for"):
            pull()
        assert other.requests == []


@pytest.mark.parametrize("token", ["", None, 1, "a\r\nX: y", "x" * 20_000, {"token": "x"}])
def test_what_is_no_token(registry: Registry, pull: Pull, token: Any) -> None:
    registry.realm, registry.token = f"http://{registry.host}/token", token
    with pytest.raises(PullError, match="unauthorized"):
        pull()


def test_token_that_opens_nothing(registry: Registry, pull: Pull) -> None:
    registry.realm, registry.token = f"http://{registry.host}/token", "another"
    with pytest.raises(PullError, match=r"pull model manifest: unauthorized.*HTTP 401"):
        pull()
    assert len(registry.asked("/manifests/")) == 2


@pytest.mark.parametrize("challenge", ["ftp://x/token", "", "http://["])
def test_realm_that_is_none(registry: Registry, pull: Pull, challenge: str) -> None:
    registry.realm = challenge or "http://user:secret@127.0.0.1/token"
    with pytest.raises(PullError):
        pull()


def test_redirects_end(registry: Registry, pull: Pull) -> None:
    registry.location = f"http://{registry.host}/v2/library/tiny/blobs/{{digest}}"
    with pytest.raises(PullError, match="HTTP 307"):
        pull()


def test_redirect_to_nowhere(registry: Registry, pull: Pull) -> None:
    registry.location = "file:///etc/passwd"
    with pytest.raises(PullError, match="no web address"):
        pull()
