"""The store finds, lists, shows, copies and deletes, and loses nothing."""

import os
import threading
from pathlib import Path

import pytest

from hyperllama_nb.errors import InvalidNameError, ModelNotFoundError, StoreError
from hyperllama_nb.models import Store
from tests.models.manifests import install


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def blobs(store: Store) -> set[str]:
    return {path.name for path in (store.root / "blobs").iterdir()}


def test_empty_store(store: Store) -> None:
    assert store.list() == []
    with pytest.raises(ModelNotFoundError, match="pull tiny:1"):
        store.get("tiny:1")
    assert not store.root.exists()


def test_root_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERLLAMA_MODELS", str(tmp_path / "here"))
    assert Store().root == tmp_path / "here"
    monkeypatch.delenv("HYPERLLAMA_MODELS")
    assert Store().root.name == "models"


def test_get_matches_any_case_and_keeps_the_written_one(store: Store) -> None:
    install(store, "Tiny:One", a=b"1")
    assert store.get("tINY:oNE").name.display == "Tiny:One"
    assert [manifest.name.display for manifest in store.list()] == ["Tiny:One"]


def test_missing_model_suggests_close_names(store: Store) -> None:
    install(store, "tiny:135m", a=b"1")
    with pytest.raises(ModelNotFoundError, match="Did you mean tiny:135m"):
        store.get("tiny:315m")


def test_list_is_newest_first(store: Store) -> None:
    for name in ("a", "b", "c"):
        install(store, name, a=name.encode())
    assert [manifest.name.model for manifest in store.list()] == ["c", "b", "a"]


def test_view_holds_the_files_but_not_the_source(store: Store) -> None:
    made = install(store, "tiny", a=b"first", b=b"second", source=b"origin")
    view = store.view(made)
    assert {path.name: path.read_bytes() for path in view.iterdir()} == {
        "a.json": b"first",
        "b.json": b"second",
    }
    assert store.view(store.get("tiny")) == view


def test_view_is_repaired(store: Store) -> None:
    made = install(store, "tiny", a=b"first", b=b"second")
    view = store.view(made)
    (view / "a.json").unlink()
    (view / "b.json").unlink()
    (view / "b.json").write_bytes(b"changed")
    assert (store.view(made) / "a.json").read_bytes() == b"first"
    assert (view / "b.json").read_bytes() == b"second"


def test_view_falls_back_to_symbolic_links(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = install(store, "tiny", a=b"first")

    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    link = store.view(made) / "a.json"
    assert link.is_symlink()
    assert link.read_bytes() == b"first"


def test_missing_blob_is_told(store: Store) -> None:
    made = install(store, "tiny", a=b"first")
    next((store.root / "blobs").iterdir()).unlink()
    assert not store.complete(made)
    with pytest.raises(StoreError, match="hyperllama pull tiny"):
        store.view(made)


def test_copies_share_everything(store: Store) -> None:
    made = install(store, "tiny", a=b"first")
    copied = store.copy("TINY", "other/copy:2")
    assert copied.digest == made.digest
    assert store.view(copied) == store.view(made)
    assert len(blobs(store)) == 1


def test_delete_keeps_what_another_name_uses(store: Store) -> None:
    install(store, "one", shared=b"shared", a=b"only one")
    two = install(store, "two", shared=b"shared", b=b"only two")
    store.copy("two", "three")
    store.delete("one")
    assert blobs(store) == {file.blob for file in two.files}
    view = store.view(two)
    store.delete("Two:latest")
    assert (view / "b.json").read_bytes() == b"only two"
    store.delete("three")
    assert blobs(store) == set()
    assert not view.exists()
    assert list((store.root / "manifests").iterdir()) == []


def test_copy_over_another_name_removes_its_files(store: Store) -> None:
    install(store, "one", a=b"1")
    two = install(store, "two", a=b"2")
    store.copy("two", "one")
    assert blobs(store) == {file.blob for file in two.files}


def test_unknown_and_malformed_names(store: Store) -> None:
    install(store, "one", a=b"1")
    with pytest.raises(ModelNotFoundError):
        store.delete("two")
    with pytest.raises(ModelNotFoundError):
        store.copy("two", "three")
    with pytest.raises(InvalidNameError):
        store.copy("one", "../x")
    with pytest.raises(InvalidNameError):
        store.delete("../../etc/passwd")
    assert len(store.list()) == 1


def test_damaged_manifest_keeps_all_blobs(store: Store) -> None:
    install(store, "one", a=b"1")
    install(store, "two", b=b"2")
    path = store.root / "manifests" / store.get("one").name.path
    path.write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        store.get("one")
    assert [manifest.name.model for manifest in store.list()] == ["two"]
    store.delete("two")
    assert len(blobs(store)) == 2
    store.delete("one")
    assert blobs(store) == set()


def test_foreign_files_among_the_blobs_stay(store: Store) -> None:
    install(store, "one", a=b"1")
    (store.root / "blobs" / "notes.txt").write_text("mine")
    store.delete("one")
    assert blobs(store) == {"notes.txt"}


def test_threads_change_the_store_at_once(store: Store) -> None:
    install(store, "base", a=b"1")
    errors: list[BaseException] = []

    def change(number: int) -> None:
        try:
            for _ in range(5):
                Store(store.root).copy("base", f"copy{number}")
                Store(store.root).delete(f"copy{number}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [manifest.name.model for manifest in store.list()] == ["base"]
    assert len(blobs(store)) == 1
