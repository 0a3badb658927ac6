"""Models made of models and of uploaded files, without a service."""

import hashlib
from pathlib import Path

import pytest

from hyperllama_nb.errors import (
    InvalidFileError,
    ModelNotFoundError,
    PullCancelledError,
    RequestError,
)
from hyperllama_nb.models import Manifest, Store
from hyperllama_nb.models.creation import Changes, assemble, check_files, derive
from hyperllama_nb.models.names import Name
from hyperllama_nb.models.uploads import Uploads
from hyperllama_nb.testing import install_tiny, tiny_model
from tests.models import gguf_files

NEW = Name.parse("new")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr("hyperllama_nb.models.gguf.importer.default_encoding", lambda: "float32")
    return Store(tmp_path / "models")


def upload(store: Store, content: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    with Uploads(store).receiving(digest) as receiver:
        receiver.write(content)
        receiver.finish()
    return digest


def made(store: Store, **files: bytes) -> Manifest:
    digests = {path: upload(store, content) for path, content in files.items()}
    return assemble(store, digests, NEW, Changes())


def test_a_model_of_another_shares_its_files(store: Store) -> None:
    base = install_tiny(store, options={"seed": 1, "top_k": 5}, license="apache-2.0")
    changes = Changes("S", "T", ("L",), {"seed": 2}, ({"role": "user", "content": "Hi"},))
    derived = derive(store, base.name, NEW, changes)
    assert store.get("new") == derived
    assert derived.files == base.files
    assert (derived.system, derived.template) == ("S", "T")
    assert derived.options == {"seed": 2, "top_k": 5}
    assert derived.license_text == "apache-2.0\nL"
    assert derived.messages == changes.messages
    assert derived.source == "model:tiny:latest"
    assert derived.digest != base.digest
    assert len(set(changes.layers())) == 5
    store.delete("tiny")
    assert store.complete(store.get("new"))
    assert store.view(derived).is_dir()


def test_what_is_not_given_stays(store: Store) -> None:
    base = install_tiny(store, system="S", license_text="L", options={"seed": 1})
    derived = derive(store, base.name, NEW, Changes())
    assert derived.digest == base.digest
    again = derive(store, NEW, NEW, Changes(system="other"))
    assert (again.license_text, again.template, again.options) == ("L", base.template, {"seed": 1})
    assert store.get("new").system == "other"
    assert derive(store, NEW, Name.parse("NEW"), Changes()).name == NEW
    assert store.copy("tiny", "New").name == NEW
    assert list(Changes().layers()) == []
    with pytest.raises(ModelNotFoundError):
        derive(store, Name.parse("nobody"), NEW, Changes())


def test_a_gguf_file_becomes_a_model(store: Store) -> None:
    said: list[str] = []
    digest = upload(store, gguf_files.tiny_llama())
    manifest = assemble(
        store,
        {"model": digest},
        NEW,
        Changes(system="S"),
        progress=lambda progress: said.append(progress.status),
    )
    assert (manifest.format, manifest.system) == ("gguf", "S")
    assert manifest.template == gguf_files.TEMPLATE
    assert store.get("new") == manifest
    assert store.complete(manifest)
    source = store.gguf(manifest)
    assert source is not None
    assert source.read_bytes() == gguf_files.tiny_llama()
    assert next(s for s in said if s.startswith("creating new layer")).endswith(digest)
    assert said[-2:] == ["writing manifest", "success"]
    assert list((store.root / "uploads").iterdir()) == []
    assert Uploads(store).find(digest) == source
    # The blob of a model makes another one.
    assert assemble(store, {"x.gguf": digest}, Name.parse("b"), Changes()).files == manifest.files


def test_a_gguf_file_that_cannot_be_imported_is_kept_where_a_backend_runs_it(store: Store) -> None:
    metadata = gguf_files.llama_metadata()
    foreign = {key.replace("llama.", "gemma2.", 1): value for key, value in metadata.items()}
    content = gguf_files.tiny_llama({**foreign, "general.architecture": "gemma2"})
    digest = upload(store, content)
    with pytest.raises(InvalidFileError, match="architecture 'gemma2'"):
        assemble(store, {"a.gguf": digest}, NEW, Changes())
    kept = assemble(store, {"a.gguf": digest}, NEW, Changes(), runs=lambda *_: True)
    source = store.gguf(kept)
    assert source is not None
    assert source.read_bytes() == content


def test_a_checkpoint_becomes_a_model(store: Store, tmp_path: Path) -> None:
    contents = {path.name: path.read_bytes() for path in tiny_model(tmp_path / "tiny").iterdir()}
    manifest = made(store, **contents)
    assert manifest.architecture == "LlamaForCausalLM"
    assert {path.name for path in store.view(manifest).iterdir()} == set(contents)


def test_files_that_are_no_model_are_said_and_leave_nothing(store: Store) -> None:
    whole = gguf_files.tiny_llama()
    for files, text in (
        ({"a.gguf": whole[:-100]}, "cut short"),
        ({"a.gguf": b"GGUF"}, "not a usable GGUF"),
        ({"a.gguf": whole, "b": whole + b"\0"}, "There are 2 files, 2 of them GGUF"),
        ({"a.gguf": whole, "b.safetensors": b"x"}, "There are 2 files, 1 of them GGUF"),
        ({"a.safetensors": b"x"}, "without a config.json"),
        ({"a.bin": b"x"}, "no safetensors or GGUF weights"),
    ):
        with pytest.raises(InvalidFileError, match=text):
            made(store, **files)
    with pytest.raises(RequestError, match="Two of the files"):
        made(store, **{"a/x.json": b"1", "b/x.json": b"2"})
    assert store.list() == []
    assert list((store.root / "partial").iterdir()) == []


@pytest.mark.parametrize(
    "path", ["", ".", "..", "/etc/passwd", "a/../b", "a//b", "a/", "..\\b", "c:x", "a\0b"]
)
def test_a_path_that_leads_elsewhere_is_refused(store: Store, path: str) -> None:
    with pytest.raises(RequestError, match="file path must be relative"):
        check_files(store, {path: upload(store, b"x")})


def test_what_was_not_uploaded_is_said(store: Store) -> None:
    digest = f"sha256:{'0' * 64}"
    with pytest.raises(RequestError, match=f'blob "{digest}" not found'):
        check_files(store, {"a.gguf": digest})
    with pytest.raises(RequestError, match="invalid digest format"):
        check_files(store, {"a.gguf": "sha256:../../x"})
    with pytest.raises(RequestError, match="too many files"):
        check_files(store, {f"{i}": digest for i in range(2000)})


def test_a_cancelled_creation_leaves_nothing_but_the_upload(store: Store) -> None:
    digest = upload(store, gguf_files.tiny_llama())
    with pytest.raises(PullCancelledError):
        assemble(store, {"a.gguf": digest}, NEW, Changes(), cancelled=lambda: True)
    assert list((store.root / "partial").iterdir()) == []
    assert Uploads(store).find(digest) is not None
