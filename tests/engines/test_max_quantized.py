"""Four-bit weights on MAX: what the launch says, and what happens where MAX does not fit."""

import importlib
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest

from hyperllama_nb.engines.base import Placement
from hyperllama_nb.engines.max import MaxBackend, launcher, memory, quantized
from tests.engines.test_max_devices import MANIFEST, machine, spec
from tests.models import gguf_files

FOUR = replace(
    MANIFEST,
    files=(replace(MANIFEST.files[0], path="model-q4_0.gguf"),),
    encoding="q4_0",
    quantization="Q4_0",
)


@pytest.fixture
def fallback(monkeypatch):
    monkeypatch.syspath_prepend(str(quantized.ARCHITECTURES))
    yield importlib.import_module("hyperllama_fallback")
    sys.modules.pop("hyperllama_fallback")


@pytest.fixture
def module(monkeypatch, fallback):
    """Import the architecture as MAX does."""
    yield importlib.import_module(quantized.MODULE)
    sys.modules.pop(quantized.MODULE)


def test_four_bit_weights_come_with_their_architecture():
    directory, _, module = quantized.options(spec(manifest=FOUR))[1].partition(":")
    assert (Path(directory) / f"{module}.py").is_file()
    for other in ("float32", "bfloat16", "q4_k"):
        assert quantized.options(spec(manifest=replace(FOUR, encoding=other))) == []


def test_they_run_on_a_cpu_though_there_is_a_gpu():
    backend = MaxBackend()
    assert backend.place(FOUR, machine()) == Placement()


def test_the_float32_table_of_tokens_is_counted():
    four, other = (memory.need(spec(manifest=m), memory.SERVE) for m in (FOUR, MANIFEST))
    assert four.weights - other.weights == memory.SERVE.tables * 4 * 49152 * 576


def arguments(weights, *more):
    return [
        *("serve", "--model", "/m", "--weight-path", str(weights)),
        *("--quantization-encoding", "q4_0", "--custom-architectures", "/a:b", *more),
    ]


@pytest.fixture
def weights(tmp_path):
    matrix = np.random.default_rng(3).standard_normal((64, 32), np.float32)
    data = gguf.quantize(matrix, gguf.GGMLQuantizationType.Q4_0)
    content = gguf_files.gguf(
        {"general.architecture": "llama"},
        [
            ("token_embd.weight", 2, (64, 32), data.tobytes()),
            ("output_norm.weight", 0, (32,), np.ones(32, np.float32).tobytes()),
        ],
    )
    return gguf_files.write(tmp_path / "model-q4_0.gguf", content)


def test_max_that_does_not_fit_gets_float32_weights(fallback, weights, monkeypatch, capfd):
    monkeypatch.setenv("TMPDIR", str(weights.parent))
    error = ValueError("Failed to import custom model")
    error.__cause__ = fallback.MisfitError("Llama3Model has no _single_device_spec")
    found = fallback.fall_back(error, arguments(weights, "--max-length", "2048"))
    plain = weights.with_name("model-f32.gguf")
    assert found == [
        *("serve", "--model", "/m", "--weight-path", str(plain)),
        *("--quantization-encoding", "float32", "--max-length", "2048"),
    ]
    before = {tensor.name: tensor for tensor in gguf.GGUFReader(str(weights)).tensors}
    after = {tensor.name: tensor for tensor in gguf.GGUFReader(str(plain)).tensors}
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        assert tensor.tensor_type.name == "F32"
        expected = gguf.dequantize(before[name].data, before[name].tensor_type)
        np.testing.assert_array_equal(tensor.data, expected)
    said = capfd.readouterr().err
    assert "Llama3Model has no _single_device_spec" in said
    assert "float32" in said
    assert MaxBackend().phase(said).name == "build"


def test_other_errors_stay_what_they_are(fallback, weights):
    error = ValueError("another one")
    with pytest.raises(ValueError, match="another one"):
        fallback.fall_back(error, arguments(weights))


def test_a_full_disk_is_said_before_anything_is_written(fallback, weights, monkeypatch):
    monkeypatch.setattr(fallback.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(OSError, match="No space left on device"):
        fallback.plain(arguments(weights), weights.parent)
    assert not weights.with_name("model-f32.gguf").exists()
    words = "OSError: No space left on device: float32 weights take 0 MiB in /x, and 0 MiB are free"
    assert "the disk is full" in MaxBackend().explain([words], 1)


def test_a_misfit_that_ends_max_is_explained():
    line = "hyperllama_fallback.MisfitError: Llama3Model has no _single_device_spec"
    assert "--quantize" in MaxBackend().explain([line], 1)


def test_a_directory_with_a_colon_gets_a_link(tmp_path):
    given = ["serve", "--custom-architectures", "/opt/a:b/architectures:module", "--model", "/m:1"]
    (tmp_path / "here").mkdir()
    link = tmp_path / "here" / "architectures"
    expected = ["serve", "--custom-architectures", f"{link}:module", "--model", "/m:1"]
    for _ in range(2):
        assert launcher.without_colons(given, tmp_path / "here") == expected
    assert link.readlink() == Path("/opt/a:b/architectures")
    assert launcher.without_colons(expected, tmp_path) == expected
    with pytest.raises(SystemExit, match="HYPERLLAMA_RUNTIME_DIR"):
        launcher.without_colons(given, Path("/x:y"))


def test_the_launcher_runs_max_again(tmp_path, monkeypatch, weights):
    """A MAX that cannot import the architecture is run once more, with other arguments."""
    package = tmp_path / "fake" / "max" / "_entrypoints"
    package.mkdir(parents=True)
    (package / "pipelines.py").write_text(
        "import sys\n"
        "def main():\n"
        "    if '--custom-architectures' not in sys.argv:\n"
        "        print('second', *sys.argv[1:]); return 0\n"
        "    from hyperllama_fallback import MisfitError\n"
        "    try:\n"
        "        raise MisfitError('no such name')\n"
        "    except MisfitError as error:\n"
        "        raise ValueError('Failed to import custom model') from error\n"
    )
    (tmp_path / "fake" / "uvicorn.py").write_text("class Config: pass\n")
    for directory in (package, package.parent):
        (directory / "__init__.py").touch()
    places = [str(tmp_path / "fake"), str(quantized.ARCHITECTURES), *sys.path]
    done = subprocess.run(
        [sys.executable, launcher.__file__, str(tmp_path / "s"), *arguments(weights)],
        env={"PYTHONPATH": ":".join(places), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith("second serve --model /m --weight-path")
    assert "model-f32.gguf" in done.stdout
    assert "four-bit weights do not fit this MAX (no such name)" in done.stderr


@pytest.mark.slow
def test_this_max_fits(module):
    module.probe()
    assert [a.name for a in module.ARCHITECTURES] == ["LlamaForCausalLM"]


@pytest.mark.slow
def test_the_probe_tells_what_is_missing(module):
    @dataclass
    class Config:
        tie_word_embeddings: bool = False

    class Model:
        config_class = Config

        def _single_device_spec(self, model_config):
            """Is there."""

    with pytest.raises(module.MisfitError, match="Model has no _bind_graph_inputs"):
        module.probe(Model)
    Model._bind_graph_inputs = lambda self, input_tree, other: None
    with pytest.raises(
        module.MisfitError, match="_bind_graph_inputs takes self, input_tree, other"
    ):
        module.probe(Model)
    Model._bind_graph_inputs = lambda self, input_tree: None
    with pytest.raises(module.MisfitError, match="Config has no hidden_size"):
        module.probe(Model)


@pytest.mark.slow
def test_the_table_becomes_float32_and_its_bytes_the_head(module, weights):
    from max.dtype import DType
    from max.graph.weights import load_weights

    state = dict(load_weights([weights]).items())
    found = module.convert(state)
    table, head = found["embed_tokens.weight"], found["lm_head.weight"]
    assert (table.dtype, tuple(map(int, table.shape))) == (DType.float32, (64, 32))
    assert (head.dtype, tuple(map(int, head.shape))) == (DType.uint8, (64, 18))
    before = gguf.GGUFReader(str(weights)).tensors[0]
    np.testing.assert_array_equal(table.data, gguf.dequantize(before.data, before.tensor_type))
