"""Models in Ollama's own directory: found, read where they lie, never changed."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest

from hyperllama_nb.errors import (
    IntegrityError,
    InvalidFileError,
    NotSupportedError,
    PullError,
    StoreError,
)
from hyperllama_nb.models import Manifest, Name, Progress, Store
from hyperllama_nb.models.sources import ollama, resolve
from hyperllama_nb.models.sources.hosts import Policy
from tests.models import gguf_files as files
from tests.models.registry_server import digest_of, listing

GGUF = files.tiny_llama()
MODEL = {
    "model": GGUF,
    "system": b"Be brief.",
    "params": b'{"stop": ["x"]}',
    "license": b"A licence.",
    "template": b"{{ .Prompt }}",
}
Put = Callable[..., Path]

KEEP = Policy(runs=lambda *_: True)


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    return tmp_path / "ollama"


@pytest.fixture
def put(theirs: Path) -> Put:
    """Return a function that puts a model where Ollama would."""

    def put(place: str, blobs: dict[str, bytes]) -> Path:
        path = theirs / "manifests" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(listing(blobs)))
        (theirs / "blobs").mkdir(exist_ok=True)
        for data in blobs.values():
            blob = theirs / "blobs" / digest_of(data).replace(":", "-")
            if not blob.exists():
                blob.write_bytes(data)
                blob.chmod(0o444)
        return theirs / "blobs" / digest_of(blobs["model"]).replace(":", "-")

    return put


@pytest.fixture
def blob(put: Put) -> Path:
    return put("registry.ollama.ai/library/tiny/1", MODEL)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr("hyperllama_nb.models.gguf.importer.default_encoding", lambda: "float32")
    return Store(tmp_path / "models")


def state(place: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(path): (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }


def own_bytes(store: Store) -> int:
    """Return the bytes that the store itself holds."""
    return sum(path.lstat().st_size for path in (store.root / "blobs").iterdir())


def test_model_is_used_where_it_lies(store: Store, blob: Path, theirs: Path) -> None:
    before = state(theirs)
    seen: list[str] = []
    manifest = store.pull("tiny:1", policy=KEEP, progress=lambda item: seen.append(item.status))
    assert manifest.name.display == "tiny:1"
    assert (manifest.source, manifest.encoding) == ("ollama:tiny:1", "gguf F32")
    assert (manifest.system, manifest.license_text) == ("Be brief.", "A licence.")
    assert manifest.options == {"stop": ["x"]}
    assert manifest.template == files.TEMPLATE
    source = store.gguf(manifest)
    assert source is not None
    assert source.resolve() == blob.resolve()
    assert own_bytes(store) < len(GGUF) // 2
    assert manifest.size > len(GGUF)
    assert "verifying sha256 digest" in seen
    assert store.complete(manifest)
    assert state(theirs) == before


def test_converted_where_nothing_reads_it_as_it_is(store: Store, blob: Path) -> None:
    manifest = store.pull("ollama:tiny:1")
    assert (manifest.encoding, manifest.name.display) == ("float32", "tiny:1")
    source = store.gguf(manifest)
    assert source is not None
    assert source.resolve() == blob.resolve()
    assert (store.view(manifest) / "model.safetensors").stat().st_size >= len(GGUF) // 2


def test_weights_that_need_no_conversion_share_the_disk_space(
    store: Store, put: Put, theirs: Path
) -> None:
    """An engine that follows links would see a name without an ending: it gets a hard link."""
    metadata = {
        **files.llama_metadata(),
        "llama.embedding_length": 256,
        "llama.feed_forward_length": 256,
    }
    content, kind = [], gguf.GGMLQuantizationType.Q6_K
    bytes_of = gguf.GGML_QUANT_SIZES[kind]
    vocabulary = len(metadata["tokenizer.ggml.tokens"])
    shapes = {
        name: tuple({32: 256, 64: 256, 16: 128}.get(size, size) for size in shape)
        for name, shape in files.llama_shapes(vocabulary).items()
    }
    for name, shape in shapes.items():
        if len(shape) == 1:
            content.append((name, files.F32, shape, bytes(4 * shape[0])))
        else:
            size = shape[0] * shape[1] // bytes_of[0] * bytes_of[1]
            content.append((name, int(kind), shape, bytes(size)))
    data = files.gguf(metadata, content)
    blob = put("registry.ollama.ai/library/six/k", {"model": data})
    before = state(theirs)
    manifest = store.pull("six:k")
    assert manifest.encoding == "q6_k"
    (weights,) = store.view(manifest).glob("*.gguf")
    assert weights.resolve().name == "model-q6_k.gguf"
    assert weights.samefile(blob)
    store.delete("six:k")
    assert state(theirs) == before
    assert store.pull("six:k", policy=KEEP).encoding == "gguf Q6_K"
    assert own_bytes(store) < len(data) // 2


def test_removing_it_leaves_ollamas_files(store: Store, blob: Path, theirs: Path) -> None:
    before = state(theirs)
    view = store.view(store.pull("tiny:1", policy=KEEP))
    store.copy("tiny:1", "mine")
    store.delete("tiny:1")
    assert store.gguf(store.get("mine")) is not None
    store.delete("mine")
    assert not view.exists()
    assert list((store.root / "blobs").iterdir()) == []
    assert list((store.root / "external").iterdir()) == []
    assert state(theirs) == before


def test_file_that_is_gone_is_told(store: Store, blob: Path) -> None:
    manifest = store.pull("tiny:1", policy=KEEP)
    blob.unlink()
    assert not store.complete(manifest)
    with pytest.raises(StoreError, match=r"which is gone since.*hyperllama pull tiny:1"):
        store.gguf(manifest)
    with pytest.raises(PullError, match="ollama pull tiny:1"):
        store.pull("tiny:1", policy=KEEP)
    store.delete("tiny:1")
    assert store.list() == []


@pytest.mark.parametrize("change", [b"\0", GGUF[:-1] + b"\1"])
def test_file_that_was_changed_is_told(store: Store, blob: Path, change: bytes) -> None:
    manifest = store.pull("tiny:1", policy=KEEP)
    blob.chmod(0o644)
    blob.write_bytes(change)
    os.utime(blob, (1, 1))
    with pytest.raises(StoreError, match="has changed"):
        store.gguf(manifest)
    with pytest.raises(PullError):
        store.pull("tiny:1", policy=KEEP)


def test_pull_repairs_a_link(store: Store, blob: Path, theirs: Path, tmp_path: Path) -> None:
    manifest = store.pull("tiny:1", policy=KEEP)
    blob.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").rename(blob)
    os.utime(blob, (5, 5))
    with pytest.raises(StoreError):
        store.gguf(manifest)
    assert store.gguf(store.pull("tiny:1", policy=KEEP)) is not None


def test_digest_is_verified_once(
    store: Store, blob: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.pull("tiny:1", policy=KEEP)
    put("registry.ollama.ai/library/tiny/2", {**MODEL, "system": b"Be kind."})
    seen: list[Progress] = []
    assert store.pull("tiny:2", policy=KEEP, progress=seen.append).system == "Be kind."
    assert not any(item.status == "verifying sha256 digest" for item in seen)
    os.utime(blob, (9, 9))
    store.pull("tiny:2", name="other", policy=KEEP, progress=seen.append)
    assert any(item.status == "verifying sha256 digest" for item in seen)


def test_second_pull_changes_nothing(store: Store, blob: Path) -> None:
    assert store.pull("tiny:1", policy=KEEP) == store.pull("ollama:TINY:1", policy=KEEP)


def test_converted_once_nothing_reads_it_any_more(store: Store, blob: Path) -> None:
    assert store.pull("tiny:1", policy=KEEP).encoding == "gguf F32"
    assert store.pull("tiny:1").encoding == "float32"


def test_wrong_bytes_are_refused(store: Store, blob: Path) -> None:
    blob.chmod(0o644)
    blob.write_bytes(GGUF[:-1] + b"\1")
    with pytest.raises(IntegrityError):
        store.pull("tiny:1", policy=KEEP)
    assert store.list() == []


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("registry.ollama.ai/library/tiny/latest", "tiny"),
        ("registry.ollama.ai/library/Tiny/Latest", "TINY:latest"),
        ("registry.ollama.ai/someone/tiny/1", "someone/tiny:1"),
        ("hf.co/org/repo/Q4_0", "hf.co/org/repo:q4_0"),
        ("other.example/ns/tiny/1", "other.example/ns/tiny:1"),
    ],
)
def test_names_are_found_in_any_case(put: Put, store: Store, place: str, text: str) -> None:
    put(place, MODEL)
    assert store.pull(text, policy=KEEP).source.startswith("ollama:")


def test_same_case_is_preferred(put: Put, store: Store) -> None:
    put("registry.ollama.ai/library/Tiny/1", {**MODEL, "system": b"large"})
    put("registry.ollama.ai/library/tiny/1", {**MODEL, "system": b"small"})
    assert store.pull("tiny:1", policy=KEEP).system == "small"


def test_catalog_comes_first(put: Put) -> None:
    put("registry.ollama.ai/library/smollm2/135m", MODEL)
    assert resolve("smollm2:135m").text.startswith("pypi:")
    assert resolve("ollama:smollm2:135m").text == "ollama:smollm2:135m"


def test_without_admin_the_directory_is_not_looked_at(blob: Path) -> None:
    policy = Policy(hosts=frozenset({"registry.ollama.ai"}), local=False)
    assert resolve("tiny:1", policy).text == "tiny:1"
    assert resolve("tiny:1", Policy()).text == "ollama:tiny:1"


def test_unknown_name_says_where_it_was_looked_for(theirs: Path, blob: Path, store: Store) -> None:
    with pytest.raises(PullError, match=r"no model other:latest.*ollama list"):
        store.pull("ollama:other")


def test_no_directory(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ollama, "SYSTEM", tmp_path / "none")
    assert ollama.directories() == []
    with pytest.raises(PullError, match="OLLAMA_MODELS"):
        store.pull("ollama:tiny")


def test_usual_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "system" / "manifests").mkdir(parents=True)
    monkeypatch.setattr(ollama, "SYSTEM", tmp_path / "system")
    monkeypatch.setattr("sys.platform", "linux")
    home = Path.home() / ".ollama" / "models"
    (home / "manifests").mkdir(parents=True)
    assert ollama.directories() == [home, tmp_path / "system"]
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "system"))
    assert ollama.directories() == [tmp_path / "system"]


def test_unreadable_directory_is_none(
    theirs: Path, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = Name.parse("tiny:1")
    assert ollama.OllamaSource.find(name) is not None
    (theirs / "manifests").chmod(0)
    if os.geteuid() == 0:  # whom no mode keeps out
        stat = os.stat

        def refuse(path: Path, **how: bool) -> os.stat_result:
            if "manifests" in os.fspath(path):
                raise PermissionError(13, "Permission denied", os.fspath(path))
            return stat(path, **how)

        monkeypatch.setattr(os, "stat", refuse)
    assert ollama.OllamaSource.find(name) is None
    monkeypatch.undo()
    (theirs / "manifests").chmod(0o755)


@pytest.mark.parametrize("content", [b"", b"{", b" " * (2 << 20)])
def test_damaged_manifest(theirs: Path, blob: Path, store: Store, content: bytes) -> None:
    (theirs / "manifests/registry.ollama.ai/library/tiny/1").write_bytes(content)
    with pytest.raises(InvalidFileError):
        store.pull("tiny:1", policy=KEEP)


def test_manifest_leads_nowhere_else(theirs: Path, blob: Path, store: Store) -> None:
    secret = theirs / "secret"
    secret.write_bytes(b"secret")
    path = theirs / "manifests/registry.ollama.ai/library/tiny/1"
    content = json.loads(path.read_text())
    content["layers"][1] |= {"digest": "sha256:../../secret", "size": 6}
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidFileError):
        store.pull("tiny:1", policy=KEEP)


def test_pipe_is_not_opened(theirs: Path, blob: Path, store: Store) -> None:
    blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(PullError, match="does not have"):
        store.pull("tiny:1", policy=KEEP)


def test_projector_is_refused(put: Put, store: Store) -> None:
    put("registry.ollama.ai/library/eyes/1", {**MODEL, "projector": b"x"})
    with pytest.raises(NotSupportedError, match="images"):
        store.pull("eyes:1", policy=KEEP)


def test_our_own_copy_is_preferred_to_a_link(store: Store, blob: Path, tmp_path: Path) -> None:
    path = files.write(tmp_path / "own.gguf", GGUF)
    own: Manifest = store.pull(f"file:{path}", name="own")
    store.pull("tiny:1", policy=KEEP)
    place = store.gguf(own)
    assert place is not None
    assert not place.is_symlink()
    blob.unlink()
    assert store.gguf(store.get("tiny:1")) == place


def test_link_becomes_our_own_copy(store: Store, blob: Path, tmp_path: Path) -> None:
    linked = store.pull("tiny:1", policy=KEEP)
    path = files.write(tmp_path / "own.gguf", GGUF)
    store.pull(f"file:{path}", name="own")
    blob.unlink()
    assert store.complete(linked)
