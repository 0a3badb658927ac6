"""Pull from a registry that speaks Ollama's protocol: whole, resumed, shared, cancelled."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hyperllama_nb.errors import (
    InvalidFileError,
    PullCancelledError,
    PullError,
)
from hyperllama_nb.models import Manifest, Progress, Store
from hyperllama_nb.models.sources import blobs, layers
from hyperllama_nb.models.sources.hosts import Policy
from tests.models.gguf_files import TEMPLATE, llama_metadata, tiny_llama
from tests.models.registry_server import GGUF, MODEL, Registry, digest_of

Pull = Callable[..., Manifest]


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


def test_template_that_is_missing_is_told(registry: Registry, pull: Pull) -> None:
    metadata = llama_metadata()
    del metadata["tokenizer.chat_template"]
    registry.put("library/tiny:1", {**MODEL, "model": tiny_llama(metadata)})
    seen: list[str] = []
    assert pull(progress=lambda item: seen.append(item.status)).template is None
    assert any("so the model completes text" in status for status in seen)


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
