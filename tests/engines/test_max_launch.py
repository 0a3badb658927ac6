"""Which of MAX's two engines runs a model, and what is said about it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hyperllama_nb.engines.base import Placement, Traits
from hyperllama_nb.engines.max import MaxBackend, find, leaning
from hyperllama_nb.engines.max.find import Found
from tests.engines.test_max_devices import MANIFEST
from tests.engines.test_max_devices import spec as launch_of

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "vocab_size": 256,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
}


@pytest.fixture
def found(tmp_path, monkeypatch):
    """Return a MAX that was tested, in an environment of its own."""
    made = Found(tmp_path / "bin" / "max", tmp_path / "bin" / "python", "26.7.0")
    monkeypatch.setattr(find, "find", lambda told=None: made)
    monkeypatch.delenv(leaning.CHOICE, raising=False)
    return made


@pytest.fixture
def spec(tmp_path):
    return planned(tmp_path / "model")


def planned(directory, **changes):
    """Return a launch of a model whose configuration has these changes."""
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    return launch_of(directory=directory)


def test_llama_on_a_cpu_runs_in_the_lean_engine(found, spec):
    backend = MaxBackend()
    assert backend.launch(spec) == "the lean engine"
    argv = backend.command(spec).argv
    assert argv[:2] == (str(found.python), leaning.lean_launcher.__file__)
    assert argv[argv.index("--slots") + 1] == "8"
    assert argv[argv.index("--context") + 1] == "4096"
    able = backend.capabilities(spec)
    assert {"logprobs", "penalties", "seed", "sleeps", "token_ids"} <= able
    assert backend.most_logprobs(spec) == 20
    assert backend.traits(spec) == Traits("float32", None, "float32")
    asked = {"repeat_last_n": 8, "typical_p": 0.5, "schema": {}}
    assert backend.params(spec, asked) == asked


def test_it_constrains_where_the_library_is_there(found, spec, tmp_path):
    assert "constrain" not in MaxBackend().capabilities(spec)
    (tmp_path / "lib/python3.11/site-packages/llguidance-1.3.0.dist-info").mkdir(parents=True)
    assert "constrain" in MaxBackend().capabilities(spec)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"placement": Placement("gpu", "cuda", (0,))}, "CPUs only"),
        ({"task": "embed"}, "no embeddings"),
        ({"manifest": replace(MANIFEST, encoding="q4_k")}, "the weights are in q4_k"),
    ],
)
def test_max_serve_runs_what_it_does_not(found, spec, changes, words):
    backend, spec = MaxBackend(), replace(spec, **changes)
    assert words in backend.launch(spec)
    assert "serve" in backend.command(spec).argv
    assert "lean_launcher" not in backend.command(spec).argv[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": ["Qwen2ForCausalLM"]}, "Qwen2ForCausalLM"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "yarn"),
        ({"hidden_size": None}, "cannot be read"),
    ],
)
def test_a_configuration_that_the_graph_does_not_compute_is_named(found, tmp_path, changes, words):
    assert words in MaxBackend().launch(planned(tmp_path / "other", **changes))


def test_the_variable_decides(found, spec, monkeypatch):
    monkeypatch.setenv(leaning.CHOICE, "serve")
    backend = MaxBackend()
    assert leaning.CHOICE in backend.launch(spec)
    assert "schema" not in backend.params(spec, {"schema": {}})
    assert {"ignore_eos", "sleeps"} <= backend.capabilities(spec)
    assert backend.traits(spec).cache_type == "float32"


def test_max_serve_keeps_keys_and_values_as_the_encoding_wants(found, spec):
    gpu = replace(spec, placement=Placement("gpu", "cuda", (0,)))
    brief = replace(gpu, manifest=replace(MANIFEST, encoding="bfloat16"))
    assert MaxBackend().traits(brief) == Traits("bfloat16", None, "bfloat16")
    assert MaxBackend().traits(replace(spec, task="embed")).cache_type is None


def test_an_engine_keeps_the_way_in_which_it_was_launched(found, spec, monkeypatch):
    backend = MaxBackend()
    assert backend.launch(spec) == "the lean engine"
    monkeypatch.setenv(leaning.CHOICE, "serve")
    assert backend.launch(replace(spec, batch=2)) == "the lean engine"
    assert backend.launch(replace(spec, workdir=Path("/other"))) != "the lean engine"


@pytest.mark.parametrize(
    ("answer", "words"), [("", None), ("import sys; sys.exit('no ops')", "no ops")]
)
def test_a_release_that_was_not_tested_is_asked(spec, tmp_path, monkeypatch, answer, words):
    """The probe is the launcher itself; here a program stands for MAX's interpreter."""
    program = tmp_path / f"python{len(answer)}"
    program.write_text(f"#!/bin/sh\n[ -z \"{answer}\" ] || {{ echo 'no ops' >&2; exit 1; }}\n")
    program.chmod(0o700)
    made = Found(tmp_path / "max", program, "26.7.9")
    against = leaning.reason_against(spec, made)
    assert against is None if words is None else words in against
