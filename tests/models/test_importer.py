"""An imported GGUF holds the same numbers, in the places where a checkpoint has them."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tokenizers
from safetensors.numpy import load_file

from hyperllama_nb import hardware
from hyperllama_nb.errors import InvalidFileError, NoSpaceError
from hyperllama_nb.models import Manifest, Store
from hyperllama_nb.models.gguf import architectures, rope
from tests.models import gguf_files as files

PAIRS = {"attn_q": files.HEADS, "attn_k": files.KV_HEADS}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr("hyperllama_nb.models.gguf.importer.default_encoding", lambda: "float32")
    return Store(tmp_path / "models")


def pull(store: Store, tmp_path: Path, content: bytes) -> tuple[Manifest, Path]:
    path = files.write(tmp_path / "tiny.gguf", content)
    manifest = store.pull(f"file:{path}")
    return manifest, store.view(manifest)


def paired(array: Any, heads: int) -> Any:
    """Reorder a checkpoint's rows as llama.cpp's converter does."""
    rows = array.shape[0]
    return array.reshape(heads, 2, rows // heads // 2, -1).swapaxes(1, 2).reshape(array.shape)


def test_float32_llama(store: Store, tmp_path: Path) -> None:
    manifest, view = pull(store, tmp_path, files.tiny_llama())
    theirs = files.llama_weights(manifest.vocab_size)
    ours = load_file(view / "model.safetensors")
    assert len(ours) == len(theirs)
    assert "lm_head.weight" not in ours
    for name, expected in theirs.items():
        found = ours[architectures.hugging_face_name(name)]
        heads = PAIRS.get(name.split(".")[-2])
        again = found if heads is None else paired(found, heads)
        np.testing.assert_array_equal(again, expected)


def test_configuration(store: Store, tmp_path: Path) -> None:
    manifest, view = pull(store, tmp_path, files.tiny_llama())
    config = json.loads((view / "config.json").read_text())
    expected = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": files.HIDDEN,
        "intermediate_size": files.FEED_FORWARD,
        "num_attention_heads": files.HEADS,
        "num_key_value_heads": files.KV_HEADS,
        "num_hidden_layers": files.LAYERS,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-05,
        "rope_theta": 100000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    assert {key: config[key] for key in expected} == expected
    assert json.loads((view / "generation_config.json").read_text())["eos_token_id"] == 2
    words = json.loads((view / "tokenizer_config.json").read_text())
    assert (words["eos_token"], words["chat_template"]) == ("<|im_end|>", files.TEMPLATE)
    tokenizer = tokenizers.Tokenizer.from_file(str(view / "tokenizer.json"))
    encoded = tokenizer.encode("<|im_start|>hello", add_special_tokens=False)
    assert encoded.tokens == ["<|im_start|>", "hel", "l", "o"]
    assert manifest.template == files.TEMPLATE
    assert (manifest.license, manifest.encoding) == ("apache-2.0", "float32")
    assert (manifest.context_length, manifest.head_dim, manifest.kv_heads) == (128, 8, 2)
    assert {file.role for file in manifest.files} == {"weights", "config", "tokenizer", "source"}


def test_several_ends_of_an_answer(store: Store, tmp_path: Path) -> None:
    metadata = {**files.llama_metadata(), "tokenizer.ggml.eot_token_id": 0}
    _, view = pull(store, tmp_path, files.tiny_llama(metadata))
    assert json.loads((view / "generation_config.json").read_text())["eos_token_id"] == [2, 0]


@pytest.mark.parametrize("kind", ["F16", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "BF16"])
def test_quantised_llama_is_what_the_gguf_package_reads(
    store: Store, tmp_path: Path, kind: str
) -> None:
    number = gguf.GGMLQuantizationType[kind]
    metadata = files.llama_metadata()
    content, expected = [], {}
    for name, array in files.llama_weights(len(metadata["tokenizer.ggml.tokens"])).items():
        if array.ndim == 1:
            content.append((name, files.F32, array.shape, array.tobytes()))
            expected[name] = array
            continue
        data = gguf.quants.quantize(array, number)
        content.append((name, int(number), array.shape, data.tobytes()))
        expected[name] = gguf.quants.dequantize(data, number)
    manifest, view = pull(store, tmp_path, files.gguf(metadata, content))
    ours = load_file(view / "model.safetensors")
    assert manifest.quantization == kind
    for name, array in expected.items():
        found = ours[architectures.hugging_face_name(name)]
        heads = PAIRS.get(name.split(".")[-2])
        np.testing.assert_array_equal(found if heads is None else paired(found, heads), array)


def test_bfloat16_for_an_accelerator(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyperllama_nb.models.gguf.importer.default_encoding", lambda: "bfloat16")
    manifest, view = pull(store, tmp_path, files.tiny_llama())
    data = (view / "model.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert {entry["dtype"] for name, entry in header.items() if name[0] == "m"} == {"BF16"}
    assert manifest.encoding == "bfloat16"
    assert json.loads((view / "config.json").read_text())["torch_dtype"] == "bfloat16"
    start, end = header["model.norm.weight"]["data_offsets"]
    raw = np.frombuffer(data[-(len(data) - 8 - int.from_bytes(data[:8], "little")) :], np.uint8)
    halves = raw[start:end].view("<u2").astype(np.uint32) << 16
    expected = files.llama_weights(manifest.vocab_size)["output_norm.weight"]
    np.testing.assert_allclose(halves.view(np.float32), expected, rtol=2**-8)
    theirs = gguf.quants.quantize(expected, gguf.GGMLQuantizationType.BF16).view("<u2")
    np.testing.assert_array_equal(raw[start:end].view("<u2"), theirs)


def test_default_encoding_follows_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    from hyperllama_nb.models.gguf.importer import default_encoding

    class Found:
        devices: tuple[object, ...] = ()

    found = Found()
    monkeypatch.setattr(hardware, "detect", lambda: found)
    assert default_encoding() == "float32"
    found.devices = (object(),)
    assert default_encoding() == "bfloat16"


def k_quants(matrix: int, embedding: int) -> bytes:
    """Return a Llama file of K-quants; its numbers do not matter."""
    metadata = {
        **files.llama_metadata(),
        "llama.embedding_length": 256,
        "llama.feed_forward_length": 256,
        "llama.block_count": 1,
    }
    count = len(metadata["tokenizer.ggml.tokens"])
    sizes = {12: 144, 13: 176, 14: 210}
    content: list[files.TensorBytes] = []
    for name, shape in files.llama_shapes(count).items():
        if name.startswith("blk.1"):
            continue
        if len(shape) == 1:
            content.append((name, files.F32, (256,), b"\0" * 1024))
            continue
        rows = {"attn_k": 128, "attn_v": 128}.get(name.split(".")[-2], 256)
        kind = embedding if name.startswith("token") else matrix
        rows = count if name.startswith("token") else rows
        content.append((name, kind, (rows, 256), b"\0" * rows * sizes[kind]))
    return files.gguf(metadata, content)


@pytest.mark.parametrize(
    ("matrix", "embedding", "encoding", "file"),
    [
        (12, 14, "q4_k", "model-q4_k_m.gguf"),
        (14, 14, "q6_k", "model-q6_k.gguf"),
        (13, 14, "float32", "model.safetensors"),
    ],
)
def test_what_max_runs_stays(
    store: Store, tmp_path: Path, matrix: int, embedding: int, encoding: str, file: str
) -> None:
    manifest, view = pull(store, tmp_path, k_quants(matrix, embedding))
    assert manifest.encoding == encoding
    assert [item.path for item in manifest.files if item.role == "weights"] == [file]
    assert (view / file).is_file()


def test_tensor_names_are_those_of_the_gguf_package() -> None:
    for family, architecture in architectures.ARCHITECTURES.items():
        number = next(n for n, name in gguf.MODEL_ARCH_NAMES.items() if name == family)
        names = gguf.get_tensor_name_map(number, 1)
        parts = [f"blk.0.{part}" for part in architectures._COMMON | architecture.extra]
        for name in ["token_embd.weight", "output_norm.weight", "output.weight", *parts]:
            ours = architectures.hugging_face_name(name)
            assert names.get_name(ours, (".weight", ".bias")) == name


def test_memory_is_bounded_by_the_largest_tensor(store: Store, tmp_path: Path) -> None:
    metadata = files.llama_metadata()
    metadata["llama.embedding_length"] = metadata["llama.feed_forward_length"] = width = 1024
    metadata["llama.block_count"] = 1
    count = len(metadata["tokenizer.ggml.tokens"])
    data = gguf.quants.quantize(np.ones((width, width), np.float32), gguf.GGMLQuantizationType.Q4_0)
    content: list[files.TensorBytes] = []
    for name, shape in files.llama_shapes(count).items():
        if name.startswith("blk.1"):
            continue
        if len(shape) == 1:
            content.append((name, files.F32, (width,), b"\0" * 4 * width))
        elif name.startswith("token"):
            content.append((name, files.F32, (count, width), b"\0" * 4 * count * width))
        else:
            rows = {"attn_k": width // 2, "attn_v": width // 2}.get(name.split(".")[-2], width)
            content.append((name, 2, (rows, width), data[:rows].tobytes()))
    path = files.write(tmp_path / "wide.gguf", files.gguf(metadata, content))
    del content
    store.pull(f"file:{path}", name="warm")
    tracemalloc.start()
    try:
        store.pull(f"file:{path}", name="measured")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * width * width * 4


def with_factors(factors: list[float]) -> bytes:
    metadata = {**files.llama_metadata(), "llama.rope.freq_base": 200000.0}
    weights = files.llama_weights(len(metadata["tokenizer.ggml.tokens"]))
    weights["rope_freqs.weight"] = np.array(factors, np.float32)
    return files.gguf(
        metadata, [(name, files.F32, item.shape, item.tobytes()) for name, item in weights.items()]
    )


def test_llama3_scaling_is_recognised(store: Store, tmp_path: Path) -> None:
    # Frequencies of 8 dimensions at base 200,000: two fast, one between, one slow.
    factors = rope.llama3_factors(32.0, 200000.0, 8)
    assert factors[0] == factors[1] == 1
    assert 1 < factors[2] < 32
    assert factors[3] == 32
    manifest, view = pull(store, tmp_path, with_factors(factors))
    assert json.loads((view / "config.json").read_text())["rope_scaling"] == {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    assert "rope_freqs.weight" not in load_file(view / "model.safetensors")
    assert manifest.parameters == sum(
        item.size for item in files.llama_weights(manifest.vocab_size).values()
    )


@pytest.mark.parametrize("factors", [[1.0, 1.0, 2.0, 8.0], [1.0], [1.0] * 5])
def test_other_scalings_are_refused(store: Store, tmp_path: Path, factors: list[float]) -> None:
    with pytest.raises(InvalidFileError, match="rope_freqs"):
        pull(store, tmp_path, with_factors(factors))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"tokenizer.ggml.pre": "mystery"}, "pre-tokenizer 'mystery'"),
        ({"tokenizer.ggml.model": "llama"}, "tokenizer is of the kind 'llama'"),
        ({"general.architecture": "mamba"}, "architecture 'mamba'"),
        ({"llama.block_count": 3}, "are missing"),
        ({"llama.block_count": 1}, "unexpected"),
        ({"llama.attention.head_count": 0}, "no size"),
        ({"llama.attention.head_count": 5}, "do not divide"),
        ({"llama.rope.freq_base": -1.0}, "positive number"),
        ({"llama.rope.scaling.type": "yarn"}, "yarn"),
        ({"llama.rope.dimension_count": 4}, "part of each head"),
        ({"tokenizer.ggml.eos_token_id": 9999}, "not in its vocabulary"),
        ({"tokenizer.ggml.merges": ["h h"]}, "not consistent"),
        ({"tokenizer.ggml.merges": ["h"]}, "not two tokens"),
        ({"tokenizer.ggml.token_type": [1]}, "not a type for each"),
    ],
)
def test_what_cannot_be_imported_is_named(
    store: Store, tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidFileError, match=reason):
        pull(store, tmp_path, files.tiny_llama({**files.llama_metadata(), **changed}))
    assert store.list() == []


def test_no_space_is_said_before_anything_is_written(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr("hyperllama_nb.models.work.shutil.disk_usage", lambda _: Usage)
    with pytest.raises(NoSpaceError, match="HYPERLLAMA_MODELS"):
        pull(store, tmp_path, files.tiny_llama())
    assert not list((store.root / "partial").rglob("*.partial"))
