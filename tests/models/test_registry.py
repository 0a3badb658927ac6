"""Pull from a registry that speaks Ollama's protocol: resumed, bounded, believed in nothing."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperllama_nb.errors import (
    IntegrityError,
    InvalidFileError,
    NoSpaceError,
    NotSupportedError,
    PullCancelledError,
    PullError,
)
from hyperllama_nb.models import Manifest, Progress, Store
from hyperllama_nb.models.sources import blobs, layers
from hyperllama_nb.models.sources.hosts import Policy
from tests.models.gguf_files import TEMPLATE, llama_metadata, tiny_llama
from tests.models.registry_server import TOKEN, Registry, digest_of, listing, serve

Pull = Callable[..., Manifest]

GGUF = tiny_llama()
MODEL = {
    "model": GGUF,
    "template": b"{{ .Prompt }}",
    "system": b"Be brief.",
    "params": json.dumps({"stop": ["<|im_end|>"], "temperature": 0.5, "backend": "x"}).encode(),
    "license": b"A licence.",
    "messages": json.dumps([{"role": "user", "content": "Hi"}]).encode(),
}


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr("hyperllama_nb.models.gguf.importer.default_encoding", lambda: "float32")


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serve(Registry()) as served:
        served.put("library/tiny:1", MODEL)
        yield served


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def policy(registry: Registry) -> Policy:
    return Policy(hosts=frozenset({registry.host}), insecure=True)


@pytest.fixture
def pull(registry: Registry, store: Store, policy: Policy) -> Pull:
    def pull(model: str = "library/tiny:1", **kwargs: Any) -> Manifest:
        return store.pull(registry.name(model), **{"policy": policy, **kwargs})

    return pull


def test_model_comes_with_all_its_layers(registry: Registry, store: Store, pull: Pull) -> None:
    seen: list[Progress] = []
    manifest = pull(progress=seen.append)
    assert manifest.name.display == f"{registry.host}/library/tiny:1"
    assert (manifest.system, manifest.license_text) == ("Be brief.", "A licence.")
    assert manifest.options == {"stop": ["<|im_end|>"], "temperature": 0.5}
    assert manifest.messages == ({"role": "user", "content": "Hi"},)
    assert manifest.template == TEMPLATE
    assert (manifest.architecture, manifest.encoding) == ("LlamaForCausalLM", "float32")
    source = store.gguf(manifest)
    assert source is not None
    assert source.read_bytes() == GGUF
    assert store.get(manifest.name) == manifest
    statuses = list(dict.fromkeys(item.status for item in seen))
    assert statuses[0] == "pulling manifest"
    assert statuses[-2:] == ["writing manifest", "success"]
    assert "verifying sha256 digest" in statuses
    assert any("not the one in Go's language" in status for status in statuses)
    digest = digest_of(GGUF)
    last = [item for item in seen if item.status == f"pulling {digest[7:19]}"][-1]
    assert (last.digest, last.total, last.completed) == (digest, len(GGUF), len(GGUF))
    asked = registry.asked("/manifests/")[0]
    assert asked["accept"] == layers.MANIFEST_TYPE
    assert asked["accept-encoding"] == "identity"
    assert not any("authorization" in headers for _, headers in registry.requests)


def test_second_pull_asks_for_the_manifest_only(registry: Registry, pull: Pull) -> None:
    first = pull()
    registry.requests.clear()
    assert pull() == first
    assert [path for path, _ in registry.requests] == ["/v2/library/tiny/manifests/1"]


def test_changed_tag_is_fetched_again(registry: Registry, pull: Pull) -> None:
    pull()
    registry.put("library/tiny:1", {**MODEL, "system": b"Be kind."})
    registry.requests.clear()
    assert pull().system == "Be kind."
    assert not registry.asked(digest_of(GGUF))


def test_the_same_file_is_fetched_once_for_two_names(registry: Registry, pull: Pull) -> None:
    pull()
    registry.put("library/other:2", {"model": GGUF})
    pull("library/other:2")
    assert len(registry.asked(digest_of(GGUF))) == 1


def test_damaged_file_in_the_store_is_fetched_again(
    registry: Registry, store: Store, pull: Pull
) -> None:
    blob = store.gguf(pull())
    assert blob is not None
    blob.write_bytes(b"x" * len(GGUF))
    registry.put("library/other:2", {"model": GGUF})
    pull("library/other:2")
    assert len(registry.asked(digest_of(GGUF))) == 2


def test_case_of_a_name_does_not_matter(registry: Registry, store: Store, pull: Pull) -> None:
    first = pull()
    registry.put("library/TINY:1", MODEL)
    pull("library/TINY:1")
    assert [item.name.key for item in store.list()] == [first.name.key]


def test_own_name(store: Store, pull: Pull) -> None:
    assert pull(name="mine:1").name.display == "mine:1"
    assert [item.name.display for item in store.list()] == ["mine:1"]


# -- what is resumed ---------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [[0], [1], [1000], [5000, 5000, 0, 0, 100_000], [len(GGUF) - 1]])
def test_broken_connection_goes_on_where_it_broke(
    registry: Registry, pull: Pull, cuts: list[int]
) -> None:
    registry.cuts = list(cuts)
    pull()
    ranges = [headers.get("range") for headers in registry.asked(digest_of(GGUF))]
    assert len(ranges) == len(cuts) + 1
    arrived = sum(min(cut, len(GGUF)) for cut in cuts)
    assert ranges[-1] == (f"bytes={arrived}-" if arrived else None)


def test_next_pull_goes_on_with_what_an_earlier_one_left(
    registry: Registry, store: Store, pull: Pull
) -> None:
    registry.cuts = [5000, *[0] * blobs.ATTEMPTS]
    with pytest.raises(PullError, match="pull again to go on"):
        pull()
    assert store.list() == []
    registry.requests.clear()
    pull()
    assert registry.asked(digest_of(GGUF))[0]["range"] == "bytes=5000-"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_server_in_trouble_is_asked_again(registry: Registry, pull: Pull, status: int) -> None:
    registry.statuses = [status] * 3
    pull()
    assert len(registry.asked(digest_of(GGUF))) == 4


def test_server_that_stays_in_trouble(registry: Registry, pull: Pull) -> None:
    registry.statuses = [503] * 50
    with pytest.raises(PullError, match="HTTP 503"):
        pull()
    assert len(registry.asked(digest_of(GGUF))) == blobs.ATTEMPTS


def test_server_without_ranges_begins_anew(registry: Registry, pull: Pull) -> None:
    registry.cuts, registry.ranges = [5000], False
    pull()
    assert len(registry.asked(digest_of(GGUF))) == 2


def test_cancelled_pull_keeps_its_part(registry: Registry, store: Store, pull: Pull) -> None:
    registry.stall = 5000
    seen: list[float] = []

    def note(progress: Progress) -> None:
        if progress.completed == registry.stall:
            seen.append(time.monotonic())

    with pytest.raises(PullCancelledError, match="pull again"):
        pull(progress=note, cancelled=lambda: bool(seen))
    assert time.monotonic() - seen[0] < 10
    assert store.list() == []
    registry.stall = None
    registry.requests.clear()
    pull()
    assert registry.asked(digest_of(GGUF))[0]["range"] == "bytes=5000-"


def test_two_pulls_share_one_download(
    registry: Registry, store: Store, pull: Pull, policy: Policy
) -> None:
    told, results = [], []
    release = threading.Event()

    def hold(progress: Progress) -> None:
        if progress.status.startswith("importing"):
            release.wait(60)

    def second() -> None:
        results.append(
            Store(store.root).pull(
                registry.name("library/TINY:1"),
                policy=policy,
                progress=lambda item: told.append(item.status),
            )
        )

    registry.put("library/TINY:1", MODEL)
    threads = [threading.Thread(target=lambda: pull(progress=hold))]
    threads[0].start()
    deadline = time.monotonic() + 60
    while not registry.asked(digest_of(GGUF)) and time.monotonic() < deadline:
        time.sleep(0.02)
    threads.append(threading.Thread(target=second))
    threads[1].start()
    while not any(text.startswith("waiting") for text in told) and time.monotonic() < deadline:
        time.sleep(0.02)
    release.set()
    for thread in threads:
        thread.join(60)
    assert len(registry.asked(digest_of(GGUF))) == 1
    assert len(results) == 1


# -- what is not believed ----------------------------------------------------------------------


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


# -- what is not there -------------------------------------------------------------------------


def test_unknown_model_in_ollamas_words(pull: Pull) -> None:
    with pytest.raises(PullError, match=r"^pull model manifest: file does not exist\. "):
        pull("library/nothing:1")


def test_host_that_does_not_answer(store: Store) -> None:
    policy = Policy(hosts=frozenset({"127.0.0.1:9"}), insecure=True)
    with pytest.raises(PullError, match="cannot be reached"):
        store.pull("http://127.0.0.1:9/library/tiny:1", policy=policy)


def test_what_is_no_gguf(registry: Registry, store: Store, pull: Pull) -> None:
    registry.put("library/tiny:1", {"model": b"not a model"})
    with pytest.raises(InvalidFileError, match="not a usable GGUF"):
        pull()
    assert store.list() == []


# -- files that stay as they are ---------------------------------------------------------------


def test_foreign_architecture_is_kept_where_a_backend_runs_it(
    registry: Registry, store: Store, pull: Pull, policy: Policy
) -> None:
    metadata = {
        key.replace("llama.", "gemma2.", 1): value for key, value in llama_metadata().items()
    }
    content = tiny_llama({**metadata, "general.architecture": "gemma2"})
    registry.put("library/foreign:1", {"model": content})
    with pytest.raises(InvalidFileError, match="architecture 'gemma2'"):
        pull("library/foreign:1")
    asked: list[tuple[Manifest, Path]] = []

    def runs(manifest: Manifest, source: Path) -> bool:
        asked.append((manifest, source))
        return True

    keeping = Policy(hosts=policy.hosts, insecure=True, runs=runs)
    manifest = pull("library/foreign:1", policy=keeping)
    assert asked[0][0].architecture == "gemma2ForCausalLM"
    assert (manifest.encoding, manifest.weights_size) == ("gguf F32", 0)
    assert (manifest.layers, manifest.context_length) == (2, 128)
    assert manifest.capabilities[0] == "completion"
    source = store.gguf(manifest)
    assert source is not None
    assert source.read_bytes() == content
    assert {path.name for path in store.view(manifest).iterdir()} == {
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_importable_file_is_imported_even_where_a_backend_would_run_it(
    pull: Pull, policy: Policy
) -> None:
    eager = Policy(hosts=policy.hosts, insecure=True, runs=lambda *_: True)
    assert pull(policy=eager).encoding == "float32"
