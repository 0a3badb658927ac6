"""Imported tokenizers give llama.cpp's own token ids."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from hyperllama_nb.models import Store
from hyperllama_nb.models.gguf import tokenizer
from hyperllama_nb.models.gguf.check import read_header
from tests.models import gguf_files

MODEL = "smollm2:135m"
SCRIPT = Path(__file__).with_name("tokenizer_parity.py")


@pytest.fixture(scope="module")
def python() -> str:
    """Return the interpreter of the environment with llama.cpp in it."""
    path = os.environ.get("HYPERLLAMA_TEST_CLIENTS_PYTHON")
    if not path:
        pytest.fail(
            "HYPERLLAMA_TEST_CLIENTS_PYTHON is not set. Run `python -m venv clients && "
            "clients/bin/pip install xllamacpp tokenizers`, and set it to clients/bin/python."
        )
    return path


@pytest.fixture(scope="module")
def source(models: str) -> Path:
    """Return the GGUF that the default model was imported from."""
    store = Store(Path(models))
    path = store.blob(store.get(MODEL), "source")
    assert path is not None
    return path


def compare(python: str, gguf: Path, tokenizer_json: Path, *form: str) -> None:
    result = subprocess.run(
        [python, str(SCRIPT), str(gguf), str(tokenizer_json), *form],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["failed"] == 0, report["first"]
    assert report["compared"] == 2000


def test_default_model(python: str, models: str, source: Path) -> None:
    store = Store(Path(models))
    compare(python, source, store.view(store.get(MODEL)) / "tokenizer.json")


@pytest.mark.parametrize("splitter", sorted(tokenizer.SPLITTERS))
def test_every_known_splitter(python: str, source: Path, tmp_path: Path, splitter: str) -> None:
    words = read_header(source).metadata
    metadata = {
        **gguf_files.llama_metadata(),
        **{key: value for key, value in words.items() if key.startswith("tokenizer.")},
        "tokenizer.ggml.pre": splitter,
    }
    gguf = gguf_files.write(tmp_path / "tiny.gguf", gguf_files.tiny_llama(metadata))
    file = tmp_path / "tokenizer.json"
    file.write_text(tokenizer.build(metadata, 128).tokenizer_json)
    form = tokenizer.SPLITTERS[splitter].normalizer
    compare(python, gguf, file, *([form] if form else []))
