"""Four-bit weights: what a re-encoded GGUF file holds, what it is called, and what is refused."""

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from hyperllama_nb.errors import InvalidFileError, RequestError
from hyperllama_nb.models import Manifest, Store, catalog
from hyperllama_nb.models.gguf import quantize
from hyperllama_nb.models.gguf.check import read_header
from hyperllama_nb.models.sources import resolve
from hyperllama_nb.models.work import Work
from tests.models import gguf_files as files
from tests.models.checkpoints import files as checkpoint

Q4_0 = gguf.GGMLQuantizationType.Q4_0


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr("hyperllama_nb.models.gguf.importer.default_encoding", lambda: "float32")
    return Store(tmp_path / "models")


def llama(
    kind: gguf.GGMLQuantizationType,
    table: gguf.GGMLQuantizationType,
    metadata: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the tiny Llama with its layers and its table of tokens in two kinds."""
    metadata = metadata or files.llama_metadata()
    content: list[files.TensorBytes] = []
    for name, array in files.llama_weights(len(metadata["tokenizer.ggml.tokens"])).items():
        if array.ndim == 1:
            content.append((name, files.F32, array.shape, array.tobytes()))
        else:
            number = table if name.startswith("token") else kind
            data = gguf.quantize(array, number).tobytes()
            content.append((name, int(number), array.shape, data))
    return files.gguf(metadata, content)


def read(view: Path) -> gguf.GGUFReader:
    return gguf.GGUFReader(str(view / quantize.FILE))


def pull(store: Store, path: Path, content: bytes, **kwargs: Any) -> Manifest:
    return store.pull(f"file:{files.write(path, content)}", **kwargs)


def test_every_matrix_is_near_what_it_was(store: Store, tmp_path: Path) -> None:
    manifest = pull(store, tmp_path / "tiny.gguf", files.tiny_llama(), quantize="Q4_0")
    assert (manifest.encoding, manifest.quantization, manifest.format) == ("q4_0", "Q4_0", "gguf")
    assert [file.path for file in manifest.files if file.role == "weights"] == ["model-q4_0.gguf"]
    assert not any(file.role == "source" for file in manifest.files)
    original = files.llama_weights(manifest.vocab_size)
    tensors = {tensor.name: tensor for tensor in read(store.view(manifest)).tensors}
    assert tensors.keys() == original.keys()
    for name, array in original.items():
        tensor = tensors[name]
        if array.ndim == 1:
            assert tensor.tensor_type.name == "F32"
            np.testing.assert_array_equal(tensor.data, array)
            continue
        assert tensor.tensor_type == Q4_0
        found = gguf.dequantize(tensor.data, Q4_0)
        # A block's step is an eighth of its largest weight; a weight beyond the last one, on the
        # side that has only seven, may be a whole step away.
        blocks = array.reshape(-1, 32)
        step = np.abs(blocks).max(axis=1, keepdims=True) / 8
        assert (np.abs(found.reshape(-1, 32) - blocks) <= step * 1.01).all()
        assert np.abs(found - array).mean() < np.abs(array).mean() * 0.15


def test_the_metadata_stays(store: Store, tmp_path: Path) -> None:
    metadata = {**files.llama_metadata(), "general.file_type": 3, "own.number": -7.5}
    manifest = pull(store, tmp_path / "tiny.gguf", files.tiny_llama(metadata), quantize="q4_0")
    header = read_header(store.view(manifest) / quantize.FILE)
    before = read_header(tmp_path / "tiny.gguf").metadata
    changed = {"general.file_type": 2, "general.quantization_version": 2}
    assert header.metadata == {**before, **changed}
    assert before.items() > {"general.file_type": 3, "own.number": -7.5}.items()
    assert read(store.view(manifest)).fields["general.file_type"].contents() == 2
    assert manifest.template == files.TEMPLATE
    names = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}
    assert names < {file.path for file in manifest.files}


@pytest.mark.parametrize("alignment", [32, 256])
def test_another_alignment_is_kept(tmp_path: Path, alignment: int) -> None:
    metadata = {**files.llama_metadata(), "general.alignment": 32}
    path = files.write(tmp_path / "a.gguf", files.tiny_llama(metadata))
    header = read_header(path)
    header.metadata["general.alignment"] = alignment
    work = Work(tmp_path)
    staged = quantize.quantize(path, header, work)
    assert staged.file.size % alignment == 0
    assert staged.file.size == staged.path.stat().st_size
    assert staged.file.size <= quantize.size_on_disk(header) + alignment * len(header.tensors)


def test_a_q4_0_file_stays_as_it_is(store: Store, tmp_path: Path) -> None:
    content = llama(Q4_0, Q4_0)
    manifest = pull(store, tmp_path / "tiny.gguf", content)
    assert (manifest.encoding, manifest.quantization) == ("q4_0", "Q4_0")
    assert (store.view(manifest) / quantize.FILE).read_bytes() == content
    asked = pull(store, tmp_path / "tiny.gguf", content, quantize="q4_0", name="asked")
    assert asked.files == manifest.files


@pytest.mark.parametrize("table", ["Q8_0", "F16"])
def test_a_q4_0_file_with_other_embeddings_becomes_q4_0(
    store: Store, tmp_path: Path, table: str
) -> None:
    content = llama(Q4_0, gguf.GGMLQuantizationType[table])
    manifest = pull(store, tmp_path / "tiny.gguf", content)
    assert (manifest.encoding, manifest.quantization) == ("q4_0", "Q4_0")
    tensors = read(store.view(manifest)).tensors
    assert {t.tensor_type for t in tensors if t.data.ndim > 1} == {Q4_0}
    before = {t.name: t for t in gguf.GGUFReader(str(tmp_path / "tiny.gguf")).tensors}
    for tensor in tensors:
        if tensor.name.startswith("blk."):
            np.testing.assert_array_equal(tensor.data, before[tensor.name].data)


def test_layers_of_another_kind_are_not_touched_unasked(store: Store, tmp_path: Path) -> None:
    content = llama(gguf.GGMLQuantizationType.Q4_1, Q4_0)
    assert pull(store, tmp_path / "tiny.gguf", content).encoding == "float32"
    asked = pull(store, tmp_path / "tiny.gguf", content, quantize="q4_0", name="asked")
    assert asked.encoding == "q4_0"


def test_accelerators_get_bfloat16_unasked(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyperllama_nb.models.gguf.importer.default_encoding", lambda: "bfloat16")
    assert pull(store, tmp_path / "tiny.gguf", llama(Q4_0, Q4_0)).encoding == "bfloat16"


@pytest.mark.parametrize(
    ("file", "kwargs", "name"),
    [
        ("tiny.gguf", {}, "tiny:q4_0"),
        ("tiny-F16.gguf", {}, "tiny:F16-q4_0"),
        ("tiny-Q4_0.gguf", {}, "tiny:Q4_0"),
        ("tiny.gguf", {"name": "mine:1"}, "mine:1"),
    ],
)
def test_names_tell_it(
    store: Store, tmp_path: Path, file: str, kwargs: dict[str, str], name: str
) -> None:
    manifest = pull(store, tmp_path / file, files.tiny_llama(), quantize="q4_0", **kwargs)
    assert manifest.name.display == name


def test_the_same_name_becomes_what_is_asked_for(store: Store, tmp_path: Path) -> None:
    path, seen = tmp_path / "tiny.gguf", []
    for encoding in ("q4_0", "q4_0", None, "q4_0"):
        manifest = pull(store, path, files.tiny_llama(), name="one", quantize=encoding)
        seen.append((manifest.encoding, manifest.modified_at))
    assert [encoding for encoding, _ in seen] == ["q4_0", "q4_0", "float32", "q4_0"]
    assert seen[0] == seen[1]  # nothing to do


def test_the_catalog_has_a_four_bit_entry_of_the_same_wheel() -> None:
    plain, four = resolve("smollm2:135m"), resolve("smollm2:135m-q4_0")
    assert four.name().display == f"{catalog.DEFAULT_MODEL}-q4_0"
    assert four.text == f"{plain.text} in q4_0"


def test_other_kinds_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"unsupported quantization type .Q5_K_M.: .* as q4_0"):
        pull(store, tmp_path / "tiny.gguf", files.tiny_llama(), quantize="Q5_K_M")


def test_other_architectures_are_refused(store: Store, tmp_path: Path) -> None:
    metadata = {
        key.replace("llama.", "qwen3."): "qwen3" if value == "llama" else value
        for key, value in files.llama_metadata().items()
    }
    weights = files.llama_weights(len(metadata["tokenizer.ggml.tokens"]))
    for layer in range(files.LAYERS):
        for part in ("attn_q_norm", "attn_k_norm"):
            weights[f"blk.{layer}.{part}.weight"] = np.ones(8, np.float32)
    content = [(name, files.F32, array.shape, array.tobytes()) for name, array in weights.items()]
    path = tmp_path / "tiny.gguf"
    with pytest.raises(InvalidFileError, match=r"Llama's architecture.*Qwen3ForCausalLM"):
        pull(store, path, files.gguf(metadata, content), quantize="q4_0")
    metadata["general.architecture"] = "gemma3"
    with pytest.raises(InvalidFileError, match=r"cannot be re-encoded as q4_0.*gemma3"):
        pull(store, path, files.gguf(metadata, content), quantize="q4_0")
    assert store.list() == []


def test_rows_that_are_no_whole_blocks_are_refused(store: Store, tmp_path: Path) -> None:
    metadata = {**files.llama_metadata(), "llama.feed_forward_length": 48}
    content = []
    for name, array in files.llama_weights(len(metadata["tokenizer.ggml.tokens"])).items():
        narrow = array[:, :48] if "ffn_down" in name else array
        narrow = array[:48] if "ffn_gate" in name or "ffn_up" in name else narrow
        content.append((name, files.F32, narrow.shape, narrow.tobytes()))
    with pytest.raises(InvalidFileError, match="48 weights, and q4_0 takes them in blocks of 32"):
        pull(store, tmp_path / "tiny.gguf", files.gguf(metadata, content), quantize="q4_0")


def test_safetensors_are_refused(store: Store, tmp_path: Path) -> None:
    directory = tmp_path / "tiny"
    directory.mkdir()
    for name, content in checkpoint().items():
        if "/" not in name:
            files.write(directory / name, content)
    with pytest.raises(InvalidFileError, match="made of a GGUF file, and these are safetensors"):
        store.pull(f"file:{directory}", quantize="q4_0")


def test_memory_is_bounded_by_a_piece(tmp_path: Path) -> None:
    rows, width = 16_384, 1024
    size = rows * width * 4
    content = [("token_embd.weight", files.F32, (rows, width), bytes(size))]
    path = files.write(
        tmp_path / "big.gguf", files.gguf({"general.architecture": "llama"}, content)
    )
    del content
    header, work = read_header(path), Work(tmp_path)
    quantize.quantize(path, header, work)  # what is imported once is not counted
    tracemalloc.start()
    try:
        staged = quantize.quantize(path, header, work)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert staged.file.size >= rows * width // 32 * 18
    assert peak < size / 2
