"""Pull from a hub: the right files, resumed, verified, cancelled, offline."""

import hashlib
import json
import threading
import time
from pathlib import Path

import pytest

from hyperllama_nb.errors import (
    IntegrityError,
    InvalidFileError,
    InvalidNameError,
    PullCancelledError,
    PullError,
)
from hyperllama_nb.models import Name, Progress, Store
from hyperllama_nb.models.sources import resolve
from tests.models import checkpoints
from tests.models.gguf_files import tiny_llama
from tests.models.hub_server import COMMIT, Hub

pytestmark = pytest.mark.slow


SOURCE = "hf:team/tiny"


def test_checkpoint_is_installed_with_its_facts(hub: Hub, store: Store) -> None:
    seen: list[Progress] = []
    manifest = store.pull(SOURCE, progress=seen.append)
    assert manifest.name.display == "team/tiny:latest"
    assert (manifest.source, manifest.revision) == (SOURCE, COMMIT)
    assert manifest.architecture == "Qwen3ForCausalLM"
    assert (manifest.quantization, manifest.format) == ("BF16", "safetensors")
    assert manifest.capabilities == ("completion", "tools", "thinking")
    assert (manifest.license, manifest.license_text) == ("apache-2.0", "A licence.")
    assert (manifest.context_length, manifest.layers, manifest.kv_heads) == (4096, 1, 2)
    assert {path.name for path in store.view(manifest).iterdir()} == {
        *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
        *("model.safetensors", "README.md", "LICENSE"),
    }
    downloads = [progress for progress in seen if progress.status == "pulling team/tiny"]
    assert downloads
    assert downloads[-1].completed == downloads[-1].total
    assert seen[-1].status == "success"


def test_second_pull_asks_for_the_revision_only(hub: Hub, store: Store) -> None:
    first = store.pull(SOURCE)
    hub.requests.clear()
    assert store.pull(SOURCE) == first
    assert not hub.downloads("resolve")


def test_new_revision_is_fetched(hub: Hub, store: Store) -> None:
    store.pull(SOURCE)
    hub.commit = "f" * 40
    hub.files["LICENSE"] = b"Another licence."
    assert store.pull(SOURCE).license_text == "Another licence."


def test_dropped_connection_goes_on_where_it_broke(hub: Hub, store: Store) -> None:
    hub.files["model.safetensors"] = whole = checkpoints.weights(200_000)
    hub.dropped.add("model.safetensors")
    manifest = store.pull(SOURCE)
    first, second = hub.downloads("/model.safetensors")
    assert first is None
    assert second is not None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= len(whole) // 2
    assert (store.view(manifest) / "model.safetensors").read_bytes() == whole


def test_blobs_share_the_disk_space_of_the_cache(hub: Hub, store: Store) -> None:
    manifest = store.pull(SOURCE)
    assert (store.view(manifest) / "model.safetensors").stat().st_nlink > 2


def test_stalled_download_is_cancelled_within_a_second(hub: Hub, store: Store, cache: Path) -> None:
    hub.stalls.add("model.safetensors")
    cancelled_at: list[float] = []

    def cancelled() -> bool:
        if hub.stalled.is_set() and not cancelled_at:
            cancelled_at.append(time.monotonic())
        return bool(cancelled_at)

    with pytest.raises(PullCancelledError, match="pull again"):
        store.pull(SOURCE, cancelled=cancelled)
    assert time.monotonic() - cancelled_at[0] < 10
    assert store.list() == []
    assert not list(cache.rglob("*.incomplete"))
    hub.stalls.clear()
    assert store.pull(SOURCE).revision == COMMIT


def test_offline_uses_the_cache(
    hub: Hub, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.pull(SOURCE)
    hub.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    manifest = Store(tmp_path / "other").pull(SOURCE)
    assert manifest.revision == COMMIT
    assert hub.requests == []


def test_offline_without_the_model_says_so(
    cache: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(PullError, match="HF_HUB_OFFLINE"):
        store.pull(SOURCE)


def test_unreachable_hub_is_one_sentence(
    cache: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PullError, match="could not be fetched"):
        store.pull(SOURCE)


def test_unknown_repository_says_so(hub: Hub, store: Store) -> None:
    with pytest.raises(PullError, match="no such repository"):
        store.pull("hf:team/other")


def test_wrong_bytes_are_refused(hub: Hub, store: Store, cache: Path) -> None:
    store.pull(SOURCE)
    store.delete("team/tiny")
    digest = hashlib.sha256(hub.files["model.safetensors"]).hexdigest()
    blob = next(cache.rglob(digest))
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"\0")
    with pytest.raises(IntegrityError):
        store.pull(SOURCE)
    assert store.list() == []


def test_single_gguf_is_imported(hub: Hub, store: Store) -> None:
    hub.files = {"tiny.Q4_1.gguf": tiny_llama(), "README.md": b""}
    manifest = store.pull(SOURCE)
    assert (manifest.format, manifest.architecture) == ("gguf", "LlamaForCausalLM")
    assert manifest.revision == COMMIT


def test_several_ggufs_need_a_choice(hub: Hub, store: Store) -> None:
    hub.files = {"a.gguf": tiny_llama(), "b.gguf": tiny_llama()}
    with pytest.raises(InvalidFileError, match=r"hf:organisation/repository/a\.gguf"):
        store.pull(SOURCE)
    assert store.pull(f"{SOURCE}/b.gguf").name.display == "team/tiny:b"


def test_pickled_weights_are_refused(hub: Hub, store: Store) -> None:
    hub.files = {"config.json": b"{}", "pytorch_model.bin": b"pickle"}
    with pytest.raises(InvalidFileError, match="can run code"):
        store.pull(SOURCE)
    assert not hub.downloads("pytorch_model.bin")


def test_incomplete_index_is_refused(hub: Hub, store: Store) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    hub.files["model.safetensors.index.json"] = json.dumps(index).encode()
    with pytest.raises(InvalidFileError, match="model-2"):
        store.pull(SOURCE)


def test_two_pulls_share_one_download(hub: Hub, store: Store) -> None:
    told: list[str] = []
    hub.stalls.add("model.safetensors")
    first_started, results = threading.Event(), []

    def first() -> None:
        with pytest.raises(PullCancelledError):
            store.pull(SOURCE, cancelled=lambda: first_started.is_set())

    def second() -> None:
        results.append(store.pull(SOURCE, progress=lambda item: told.append(item.status)))

    threads = [threading.Thread(target=first)]
    threads[0].start()
    assert hub.stalled.wait(60)
    threads.append(threading.Thread(target=second))
    threads[1].start()
    deadline = time.monotonic() + 60
    while not any(status.startswith("waiting") for status in told):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    hub.stalls.clear()
    first_started.set()
    for thread in threads:
        thread.join(60)
    assert results[0].revision == COMMIT


@pytest.mark.parametrize(
    "text",
    ["hf:a", "hf:../x", "hf:a/../b", "hf:a/b@", "hf:a/b@../c", "hf:-a/b", "hf:a/b/c.bin", "hf:"],
)
def test_malformed_sources_are_refused(text: str, store: Store) -> None:
    with pytest.raises(InvalidNameError, match="is not a repository"):
        store.pull(text)


def test_names_are_derived() -> None:
    assert resolve("hf:Org/Repo").name() == Name.parse("Org/Repo")
    assert resolve("hf:Org/Repo@v1.0/x").name() == Name.parse("Org/Repo:v1.0-x")
    assert resolve("hf:Org/Repo/sub/m-Q4_K_M.gguf").name() == Name.parse("Org/Repo:m-Q4_K_M")
