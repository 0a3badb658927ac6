"""Imported tokenizers give llama.cpp's own token ids."""

import json
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
def source(models: str) -> Path:
    """Return the GGUF that the default model was imported from."""
    store = Store(Path(models))
    path = store.blob(store.get(MODEL), "source")
    assert path is not None
    return path


def compare(clients_python: Path, gguf: Path, tokenizer_json: Path, *form: str) -> None:
    result = subprocess.run(
        [clients_python, str(SCRIPT), str(gguf), str(tokenizer_json), *form],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["failed"] == 0, report["first"]
    assert report["compared"] == 2000


def test_default_model(clients_python: Path, models: str, source: Path) -> None:
    store = Store(Path(models))
    compare(clients_python, source, store.view(store.get(MODEL)) / "tokenizer.json")


@pytest.mark.parametrize("splitter", sorted(tokenizer.SPLITTERS))
def test_every_known_splitter(
    clients_python: Path, source: Path, tmp_path: Path, splitter: str
) -> None:
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
    compare(clients_python, gguf, file, *([form] if form else []))
