"""What MAX is asked to run where, and what it is not asked because it could not."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from hyperllama_nb import _processor
from hyperllama_nb.engines.base import LaunchSpec, Placement, context_rung
from hyperllama_nb.engines.max import MaxBackend, find
from hyperllama_nb.engines.max.find import Found
from hyperllama_nb.errors import CannotRunError, EngineStartError, NotEnoughMemoryError
from hyperllama_nb.hardware import Device, Hardware
from hyperllama_nb.models.manifest import File, Manifest
from hyperllama_nb.models.names import Name

GB = 10**9
MANIFEST = Manifest(
    name=Name.parse("tiny:1b"),
    source="file:/x",
    revision="1",
    files=(File("model.safetensors", f"sha256:{0:064}", 2 * GB, "weights"),),
    architecture="LlamaForCausalLM",
    family="llama",
    parameters=GB,
    quantization="BF16",
    encoding="float32",
    context_length=8192,
    embedding_length=576,
    layers=30,
    kv_heads=4,
    head_dim=64,
    vocab_size=49152,
)


def gpu(api, index, free=20 * GB):
    return Device("gpu", api, index, f"{api} {index}", 24 * GB, free)


def machine(*devices, memory=32 * GB):
    return Hardware(8, 4, "cpu", 64 * GB, memory, devices)


def spec(**changes):
    whole = LaunchSpec(
        manifest=MANIFEST,
        directory=Path("/m"),
        placement=Placement(),
        context=4096,
        batch=None,
        max_queue=64,
        socket=Path("/w/s"),
        workdir=Path("/w"),
        cache=Path("/c"),
    )
    return replace(whole, **changes)


@pytest.fixture
def backend(monkeypatch):
    found = Found(Path("/v/bin/max"), Path("/v/bin/python"), "26.7.0")
    monkeypatch.setattr(MaxBackend, "find", lambda _: found)
    return MaxBackend()


BIG = replace(MANIFEST, files=(replace(MANIFEST.files[0], size=25 * GB),), encoding="bfloat16")


@pytest.mark.parametrize(
    ("devices", "manifest", "flag", "batch", "chunk"),
    [
        ([], MANIFEST, "cpu", "4", "256"),
        ([gpu("cuda", 0)], MANIFEST, "gpu:0", None, None),
        ([gpu("cuda", 0), gpu("cuda", 1)], MANIFEST, "gpu:0", None, None),
        ([gpu("cuda", 0, 10 * GB), gpu("cuda", 1)], MANIFEST, "gpu:1", None, None),
        ([gpu("cuda", 0), gpu("cuda", 1)], BIG, "gpu:0,1", None, None),
        ([gpu("cuda", 0, GB)], MANIFEST, "cpu", "4", "256"),
        ([gpu("hip", 0)], MANIFEST, "gpu:0", None, None),
        ([gpu("hip", 0), gpu("hip", 1)], BIG, "gpu:0,1", None, None),
        ([gpu("hip", 0), gpu("cuda", 0)], BIG, "cpu", "4", "256"),
        ([gpu("metal", 0)], MANIFEST, "cpu", "4", "256"),
        ([gpu("cuda", 0)], replace(MANIFEST, encoding="q4_k"), "cpu", "4", "256"),
    ],
)
def test_the_command_for_each_machine(backend, devices, manifest, flag, batch, chunk):
    placement = backend.place(manifest, machine(*devices))
    argv = backend.command(spec(manifest=manifest, placement=placement)).argv
    options = dict(itertools.pairwise(argv))
    assert options["--devices"] == flag
    assert options.get("--max-batch-size") == batch
    assert options.get("--max-batch-input-tokens") == chunk


def test_the_whole_command_and_environment_on_a_cpu(backend, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/notebook")
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("MAX_SERVE_PORT", "1")
    monkeypatch.setenv("MAX_SERVE_DUMMY_MODEL", "1")
    launch = backend.command(spec(batch=2))
    assert launch.argv[0] == "/v/bin/python"
    assert launch.argv[1].endswith("launcher.py")
    assert " ".join(launch.argv[2:]) == (
        "/w/s serve --served-model-name tiny:1b --host 127.0.0.1 --port 0 "
        "--allow-cold-interpreter-cache --model /m --devices cpu --quantization-encoding float32 "
        "--max-length 4096 --enable-penalties --max-queue-size 64 --max-batch-size 2 "
        "--max-batch-input-tokens 256"
    )
    env = launch.env
    assert env["MODULAR_CACHE_DIR"] == f"/c/max-26.7.0-{_processor.tag()}"
    assert env["TMPDIR"] == "/w"
    assert env["HF_HUB_OFFLINE"] == env["MAX_SERVE_DUMMY_MODEL"] == "1"
    assert env["MODULAR_TELEMETRY_ENABLED"] == "0"
    assert not {"PYTHONPATH", "HF_TOKEN", "MAX_SERVE_PORT"} & set(env)


def test_what_is_compiled_ahead_is_what_the_launch_needs(backend):
    warmup = backend.warm(spec(batch=2))
    assert " ".join(warmup.launch.argv[3:]) == (
        "warm-cache --model /m --devices cpu --quantization-encoding float32 --max-length 4096 "
        "--enable-penalties --max-batch-size 1"
    )
    assert warmup.launch.env == backend.command(spec()).env
    assert str(warmup.place) == warmup.launch.env["MODULAR_CACHE_DIR"]
    assert backend.warm(spec(batch=8, workdir=Path("/v"))).key == warmup.key
    for other in (spec(context=8192), spec(manifest=EMBEDDER), spec(placement=GPU)):
        assert backend.warm(other).key != warmup.key


EMBEDDER = replace(MANIFEST, architecture="BertModel", quantization="F32", context_length=512)


def test_embeddings_are_a_task_of_their_own(backend):
    embed = spec(manifest=EMBEDDER, task="embed", context=512)
    argv = " ".join(backend.command(embed).argv)
    assert "--task embeddings_generation --max-batch-size 8" in argv
    assert "--max-length 512" in argv
    assert "penalties" not in argv
    assert "queue" not in argv  # it would count texts, not requests
    assert backend.capabilities(embed) == {"embeddings", "sleeps", "token_ids", "metrics"}


def test_weights_that_max_does_not_convert_run_as_they_are(backend):
    embed = spec(manifest=replace(EMBEDDER, encoding="bfloat16"), task="embed", context=512)
    argv = backend.command(replace(embed, placement=Placement("gpu", "cuda", (0,)))).argv
    assert argv[argv.index("--quantization-encoding") + 1] == "float32"
    half = replace(EMBEDDER, quantization="BF16", encoding="float32")
    with pytest.raises(CannotRunError, match="bfloat16"):
        backend.check(replace(embed, manifest=half), machine())


@pytest.mark.parametrize(
    ("modes", "words"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, None),
        ({"pooling_mode_cls_token": True}, "pooling_mode_cls_token"),
        ([], None),
    ],
)
def test_embeddings_that_are_no_mean_are_refused(backend, tmp_path, modes, words):
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    embed = spec(manifest=EMBEDDER, task="embed", context=512, directory=tmp_path)
    if words is None:
        backend.check(embed, machine())
    else:
        with pytest.raises(CannotRunError, match=words):
            backend.check(embed, machine())


def test_an_architecture_that_max_does_not_embed_with_is_refused(backend):
    other = replace(EMBEDDER, architecture="NomicBertModel")
    with pytest.raises(CannotRunError, match="BertModel and MPNetForMaskedLM"):
        backend.check(spec(manifest=other, task="embed", context=512), machine())


def test_a_private_directory_with_too_long_a_path_is_refused(backend):
    with pytest.raises(EngineStartError, match="HYPERLLAMA_RUNTIME_DIR"):
        backend.command(spec(workdir=Path("/" + "x" * 64)))


def test_a_gguf_is_named_where_no_safetensors_are(backend, tmp_path):
    (tmp_path / "a-q4_k_m.gguf").touch()
    argv = backend.command(spec(directory=tmp_path)).argv
    assert argv[argv.index("--weight-path") + 1] == str(tmp_path / "a-q4_k_m.gguf")
    (tmp_path / "model.safetensors").touch()
    assert "--weight-path" not in backend.command(spec(directory=tmp_path)).argv


def test_bfloat16_runs_as_float32_on_a_cpu_and_counts_twice(backend):
    cast = spec(manifest=replace(MANIFEST, encoding="bfloat16"))
    argv = backend.command(cast).argv
    assert argv[argv.index("--quantization-encoding") + 1] == "float32"
    assert backend.memory(cast).weights == 2 * backend.memory(spec()).weights


GPU = Placement("gpu", "cuda", (0,))


@pytest.mark.parametrize(
    ("changes", "placement", "words"),
    [
        ({"architecture": "Gemma3ForCausalLM"}, Placement(), "Gemma3ForCausalLM.*GPU"),
        ({"encoding": "float16"}, Placement(), "float16 weights.*CPU"),
        ({"architecture": "BertModel", "encoding": "bfloat16"}, Placement(), "bfloat16"),
        ({"architecture": "Qwen2ForCausalLM", "encoding": "q4_k"}, Placement(), "q4_k"),
        ({"encoding": "q4_k"}, GPU, "CPU only"),
        ({"context_length": 2048}, Placement(), "2048 tokens.*4096.*num_ctx"),
    ],
)
def test_what_cannot_run_is_refused_in_words(backend, changes, placement, words):
    refused = spec(manifest=replace(MANIFEST, **changes), placement=placement)
    with pytest.raises(CannotRunError, match=words) as raised:
        backend.check(refused, machine(gpu("cuda", 0)))
    assert "tiny:1b" in str(raised.value)


def test_too_little_memory_names_all_numbers_and_what_to_change(backend):
    with pytest.raises(NotEnoughMemoryError) as raised:
        backend.check(spec(batch=4), machine(memory=2 * GB))
    message = str(raised.value)
    needed = backend.memory(spec(batch=4)).words()
    assert "0.9 cache" in needed
    for part in (needed, "4 times 4096 tokens", "1.9 GiB of this machine's memory"):
        assert part in message
    for step in ("Unload", "num_ctx", "OLLAMA_NUM_PARALLEL"):
        assert step in message


def test_memory_of_a_gpu_is_that_of_the_chosen_devices(backend):
    here = machine(gpu("cuda", 0, GB), gpu("cuda", 1), memory=0)
    backend.check(spec(placement=Placement("gpu", "cuda", (1,))), here)
    with pytest.raises(NotEnoughMemoryError, match="on cuda 0"):
        backend.check(spec(placement=GPU), here)


def test_what_fits_is_not_refused(backend):
    backend.check(spec(batch=4), machine())
    assert backend.batch(spec()) == 4
    assert backend.batch(spec(placement=GPU)) is None
    assert "penalties" in backend.capabilities(spec())


@pytest.mark.parametrize(
    ("wanted", "longest", "rung"),
    [(1, 8192, 2048), (2048, 8192, 2048), (2049, 8192, 4096), (99999, 8192, 8192), (1, 1000, 1000)],
)
def test_contexts_come_from_a_ladder(wanted, longest, rung):
    assert context_rung(wanted, longest) == rung


def test_the_backend_is_found_by_its_entry_point():
    from hyperllama_nb.engines.base import Backend, load_backends

    backends = load_backends()
    assert next(iter(backends)) == "max"
    assert isinstance(backends["max"], Backend)
    assert find.RELEASE == "26.7"
